"""Lark's tree of `fake` blocks and of devices' examples to nodes."""

from __future__ import annotations

from typing import Any

from lark import v_args

from metaos.pattern import syntax as s
from metaos.pattern.nodes.located import LocatedNodes


@v_args(meta=True)
class FakeNodes(LocatedNodes):
    """The device itself, as tests need it."""

    def has(self, meta: Any, c: list[Any]) -> s.Has:
        return s.Has(c[0], self.value(c[1]), self.span(meta))

    def has_capability(self, meta: Any, c: list[Any]) -> s.HasCapability:
        return s.HasCapability(self.value(c[0]), tuple(c[1:]), self.span(meta))

    def config_number(self, meta: Any, c: list[Any]) -> tuple[str, int, int]:
        return str(c[0]), self.value(c[1]), self.value(c[2])

    def on_reset(self, meta: Any, c: list[Any]) -> s.Rule:
        return s.Rule("reset", None, None, tuple(c), self.span(meta))

    def on_read(self, meta: Any, c: list[Any]) -> s.Rule:
        return s.Rule("read", c[0], c[1], tuple(c[2:]), self.span(meta))

    def on_write(self, meta: Any, c: list[Any]) -> s.Rule:
        return s.Rule("write", c[0], c[1], tuple(c[2:]), self.span(meta))

    def on_frame(self, meta: Any, c: list[Any]) -> s.Rule:
        return s.Rule("frame", None, c[0], tuple(c[1:]), self.span(meta))

    def itself(self, meta: Any, c: list[Any]) -> s.Rule:
        return s.Rule("itself", None, c[0], tuple(c[1:]), self.span(meta))

    def on_line(self, meta: Any, c: list[Any]) -> s.Rule:
        return s.Rule("interrupt", None, c[0], (), self.span(meta))

    def put(self, meta: Any, c: list[Any]) -> s.Put:
        return s.Put(c[0], c[1], c[2], self.span(meta))

    def send_act(self, meta: Any, c: list[Any]) -> s.Send:
        return s.Send(c[0], c[1], self.span(meta))

    def show(self, meta: Any, c: list[Any]) -> s.Show:
        return s.Show(c[0], self.span(meta))

    def reset(self, meta: Any, c: list[Any]) -> s.Reset:
        return s.Reset(self.span(meta))

    def fake(self, meta: Any, c: list[Any]) -> s.Fake:
        def of(kind: type) -> Any:
            return tuple(x for x in c if isinstance(x, kind))

        states = tuple(x for made in of(tuple) for x in made)
        return s.Fake(
            of(s.Has), of(s.HasCapability), of(s.Table), states, of(s.Rule), self.span(meta)
        )

    def trial_with(self, meta: Any, c: list[Any]) -> s.Asked:
        value = s.Number(self.value(c[1]), self.span(meta))
        return s.Asked(tuple(c[0][0].split(".")), value, self.span(meta))

    def trial_text(self, meta: Any, c: list[Any]) -> s.Text:
        return s.Text(c[0][1:-1], self.span(meta))

    def trial_frame(self, meta: Any, c: list[Any]) -> s.Arrival:
        return s.Arrival(tuple(map(self.value, c)), True, self.span(meta))

    def trial_noise(self, meta: Any, c: list[Any]) -> s.Arrival:
        return s.Arrival(tuple(map(self.value, c)), False, self.span(meta))

    def trial_turn(self, meta: Any, c: list[Any]) -> s.Turns:
        return s.Turns(self.value(c[0]) if c[0] is not None else 1, self.span(meta))

    def trial_sent(self, meta: Any, c: list[Any]) -> s.Sent:
        return s.Sent(tuple(self.value(x) for x in c if x is not None), self.span(meta))

    def trial_shown(self, meta: Any, c: list[Any]) -> s.Shown:
        return s.Shown(c[0][1:-1], self.span(meta))

    def trial_then(self, meta: Any, c: list[Any]) -> s.Then:
        return s.Then(c[0], self.span(meta))

    def trial_fails(self, meta: Any, c: list[Any]) -> s.Fails:
        return s.Fails(c[0][1:-1], self.span(meta))

    def trial(self, meta: Any, c: list[Any]) -> s.Trial:
        return s.Trial(c[0][1:-1], tuple(c[1:]), self.span(meta))
