"""Lark's tree of services to nodes."""

from __future__ import annotations

from typing import Any

from lark import Tree, v_args

from metaos.pattern import syntax as s
from metaos.pattern.nodes.located import NANOSECONDS, LocatedNodes, flat

SAID = 10_000_000_000
"""How long, in nanoseconds, a frame is waited for that comes unasked, where nothing is said."""


@v_args(meta=True)
class ServiceNodes(LocatedNodes):
    """What is done with frames, and examples of it."""

    def header(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("header", [str(c[0])])

    def let_constant(self, meta: Any, c: list[Any]) -> s.Constant:
        return s.Constant(str(c[0]), self.width(c[1]), c[2], self.span(meta))

    def named(self, meta: Any, c: list[Any]) -> s.Named:
        return s.Named(str(c[0]), c[1], self.span(meta))

    def condition(self, meta: Any, c: list[Any]) -> s.Expr:
        expression: s.Expr = c[0]
        return expression

    def accept(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("accept", list(c))

    def assignment(self, meta: Any, c: list[Any]) -> s.Assignment:
        return s.Assignment(c[0][0], c[1], self.span(meta))

    def reply(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("reply", list(c))

    def send(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("send", list(c))

    def remember(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("remember", list(c))

    def pulse(self, meta: Any, c: list[Any]) -> s.Pulse:
        count, unit, *keeps = c
        return s.Pulse(self.value(count) * NANOSECONDS[unit], tuple(keeps), self.span(meta))

    def speak(self, meta: Any, c: list[Any]) -> Tree[Any]:
        when, *lines = c
        fields = tuple(x for x in lines if isinstance(x, s.Asked))
        keeps = tuple(x for x in lines if isinstance(x, s.Assignment))
        texts = [x for x in lines if isinstance(x, s.String)]
        if len(texts) > 1:
            raise self.error("E0008", "a frame has one 'text'", texts[1].span)
        text = texts[0] if texts else None
        return Tree("speak", [s.Speak(when, fields, keeps, self.span(meta), text)])

    def text_said(self, meta: Any, c: list[Any]) -> s.String:
        return s.String(c[0][1:-1], self.span(meta))

    def hear(self, meta: Any, c: list[Any]) -> s.Hear:
        return s.Hear(self.value(c[0]), self.value(c[1]), self.span(meta))

    def passing(self, meta: Any, c: list[Any]) -> Tree[Any]:
        layout, when, *lines = c
        fields = tuple(x for x in lines if isinstance(x, s.Asked))
        keeps = tuple(x for x in lines if isinstance(x, s.Assignment))
        header = "" if layout is None else str(layout)
        return Tree("pass", [s.Pass(header, when, fields, keeps, self.span(meta))])

    def column(self, meta: Any, c: list[Any]) -> s.Column:
        name, width, kind, initial = c
        value = None if initial is None else self.value(initial)
        return s.Column(str(name), self.width(width), str(kind or ""), value, self.span(meta))

    def rows(self, meta: Any, c: list[Any]) -> s.List:
        return s.List(str(c[0]), tuple(c[1:]), self.span(meta))

    def hear_all(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("hear_all", [True])

    def say(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("say", [s.String(c[0][1:-1], self.span(meta))])

    def tell(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("tell", [s.String(c[0][1:-1], self.span(meta))])

    def asked(self, meta: Any, c: list[Any]) -> s.Asked:
        return s.Asked(tuple(c[0][0].split(".")), c[1], self.span(meta))

    def ask(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("ask", list(c))

    def example_payload(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("payload", [self.value(x) for x in c])

    def example_with(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("with", [s.Asked(tuple(c[0][0].split(".")), c[1], self.span(meta))])

    def example_cut(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("cut", [self.value(c[0])])

    def example_expect(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("answer", list(c))

    def example_silence(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("silence", [True])

    def example_passed(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("passed", [True])

    def example_said(self, meta: Any, c: list[Any]) -> Tree[Any]:
        count, unit = c
        given = SAID if count is None else self.value(count) * NANOSECONDS[unit]
        return Tree("said", [given])

    def example(self, meta: Any, c: list[Any]) -> s.Example:
        title, *items = c
        span = self.span(meta)
        parts = _sorted(items)
        silence = bool(parts["silence"])
        if silence == bool(parts["answer"]):
            raise self.error("E0007", "an example has 'answer' lines or 'silence'", span)
        return s.Example(
            title[1:-1], tuple(parts["payload"]) or (0,), tuple(parts["with"]),
            parts["cut"][0] if parts["cut"] else None, tuple(parts["answer"]), silence, span,
            parts["said"][0] if parts["said"] else None, bool(parts["passed"]),
        )  # fmt: skip

    def service(self, meta: Any, c: list[Any]) -> s.Service:
        (name, at), (over, _), where, *items = c
        items = list(flat(items))
        parts = _sorted([x for x in items if isinstance(x, Tree)])
        for once in ("header", "send", "speak", "pass", "hear_all", "say", "tell"):
            if len(parts[once]) > 1:
                raise self.error("E0008", f"service '{name}' says '{once}' twice", at)
        return s.Service(
            name=name, over=over, where=where,
            layouts=tuple(x for x in items if isinstance(x, s.Layout)),
            header=parts["header"][0] if parts["header"] else "",
            constants=tuple(x for x in items if isinstance(x, s.Constant)),
            accept=tuple(parts["accept"]), reply=tuple(parts["reply"]),
            send=parts["send"][0] if parts["send"] else None,
            say=parts["say"][0] if parts["say"] else None,
            ask=tuple(parts["ask"]),
            examples=tuple(x for x in items if isinstance(x, s.Example)), span=at,
            states=tuple(x for x in items if isinstance(x, s.State)),
            keeps=tuple(parts["remember"]),
            pulses=tuple(x for x in items if isinstance(x, s.Pulse)),
            speak=parts["speak"][0] if parts["speak"] else None,
            tell=parts["tell"][0] if parts["tell"] else None,
            passing=parts["pass"][0] if parts["pass"] else None, hears=bool(parts["hear_all"]),
            named=tuple(x for x in items if isinstance(x, s.Named)),
            demands=tuple(x for x in items if isinstance(x, s.Demand)),
            uses=tuple(x for x in items if isinstance(x, s.Use)),
            lists=tuple(x for x in items if isinstance(x, s.List)),
            hear=next((x for x in items if isinstance(x, s.Hear)), None),
        )  # fmt: skip


_PARTS = (
    "header", "accept", "remember", "reply", "send", "speak", "pass", "hear_all", "say",
    "tell", "ask", "payload", "with", "cut", "answer", "silence", "said", "passed",
)  # fmt: skip


def _sorted(trees: list[Any]) -> dict[str, list[Any]]:
    """Children of the trees by their rule's name, in order; an absent one is empty."""
    found: dict[str, list[Any]] = {kind: [] for kind in _PARTS}
    for tree in trees:
        found[tree.data].extend(tree.children)
    return found
