"""What testing a rule finds: frozen, also as JSON (`--json`)."""

from __future__ import annotations

import msgspec


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One example: `place` is its file:line; `detail` says what was expected and found.

    `at` is where it went wrong, a row, a step or a line of the example.
    """

    name: str
    place: str
    engine: str
    passed: bool
    detail: str = ""
    at: str = ""


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """How many of what kind there are, and the file:line of those that nothing reached."""

    what: str
    count: int
    missed: tuple[str, ...]


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """A rule's examples, the services' asked through it (`asked`), and what they reached.

    `untested` says why nothing ran, or is empty. `asleep`: all ran also while the processor sleeps
    between turns; None for a rule without an interrupt.
    """

    name: str
    kind: str
    examples: tuple[Outcome, ...] = ()
    asked: tuple[Outcome, ...] = ()
    reach: tuple[Reach, ...] = ()
    asleep: bool | None = None
    untested: str = ""

    @property
    def failed(self) -> tuple[Outcome, ...]:
        return tuple(o for o in (*self.examples, *self.asked) if not o.passed)


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All that was tested, and in what: the interpreter, unicorn."""

    engines: tuple[str, ...]
    unicorn: bool
    tested: tuple[Tested, ...]

    @property
    def passed(self) -> bool:
        return not any(t.failed for t in self.tested)


_ASLEEP = "run awake and asleep"
_AWAKE = "run awake only: the fake does not say when it interrupts"


def text(results: Results) -> str:
    """The report for a person."""
    lines = [f"run by {' and '.join(results.engines)}"]
    if not results.unicorn:
        lines[0] += "; unicorn is not installed, so the emitted code was not run"
    for tested in results.tested:
        lines += ["", f"{tested.kind} {tested.name}"]
        if tested.untested:
            lines.append(f"  not tested: {tested.untested}")
            continue
        lines += [line for outcome in tested.examples for line in _outcome(outcome)]
        lines += [
            line for outcome in tested.asked if not outcome.passed for line in _outcome(outcome)
        ]
        if tested.asked:
            right = sum(o.passed for o in tested.asked)
            lines.append(
                f"  {right} of {len(tested.asked)} questions of the services answered right"
            )
        if tested.asleep is not None:
            lines.append(f"  {_ASLEEP if tested.asleep else _AWAKE}")
        reach = [_reach(r) for r in tested.reach if r.count]
        if reach:
            lines.append(f"  reached: {', '.join(reach)}")
    ran = [o for t in results.tested for o in (*t.examples, *t.asked)]
    lines += ["", f"{sum(o.passed for o in ran)} of {len(ran)} passed"]
    return "\n".join(lines)


def _outcome(outcome: Outcome) -> list[str]:
    mark = "pass" if outcome.passed else "FAIL"
    lines = [f"  {mark}  {outcome.place}  {outcome.name}"]
    if not outcome.passed:
        where = f"{outcome.at}: " if outcome.at else ""
        lines.append(f"        in {outcome.engine}: {where}{outcome.detail}")
    return lines


def _reach(reach: Reach) -> str:
    found = f"{reach.count - len(reach.missed)} of {reach.count} {reach.what}"
    return f"{found} (not {', '.join(reach.missed)})" if reach.missed else found
