"""The text forms of what the verbs report. Every function takes data and returns text.

`--json` writes the data themselves, or for syntax trees what `*_data` here makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from metaos.console import not_proved, table

if TYPE_CHECKING:
    from metaos.boot.acceptance import Verdict
    from metaos.doctor import Finding
    from metaos.match.cards import Role
    from metaos.match.diff import Difference, Meant
    from metaos.match.report import Matched, MatchReport
    from metaos.match.summary import Summary
    from metaos.match.system import System
    from metaos.probe.merge import Merged


def merged_text(merged: Merged) -> str:
    """On what machine files differed, and which of them knew what another did not."""
    rows = [
        (
            conflict.fact if i == 0 else "",
            "kept" if i == 0 else "",
            side.origin,
            side.file,
            side.value,
        )
        for conflict in merged.conflicts
        for i, side in enumerate(conflict.sides)
    ]
    lines = [table(("differs", "", "origin", "file", "says"), rows) or "no conflicts\n"]
    for filled in merged.filled:
        lines.append(f"{filled.fact}: not known in {', '.join(filled.lacking)}, taken from another")
    return "\n".join(lines).rstrip("\n")


def match_text(report: MatchReport) -> str:
    """Device -> pattern as a table; then each function without one, and what is nearest to it."""
    rows = [
        (d.address, _served_by(d), d.needed, d.name, d.why or _nearest(d)) for d in report.devices
    ]
    heads = ("device", "pattern", "needed", "what it is", "matched by, or the nearest pattern")
    lines = [table(heads, rows).rstrip()]
    for device in report.devices:
        if device.unproved:
            lines += ["", not_proved(f"{device.address} {device.pattern}", device.unproved)]
        if not device.pattern and device.needed == "yes":
            lines += ["", *_unmatched_lines(device)]
    if report.unknown:
        lines += ["", "an image needs, and the file lacks:"]
        lines += [f"  {text}" for text in report.unknown]
    if report.replaced:
        lines += ["", *report.replaced]
    lines += ["", f"next: {report.next}"]
    return "\n".join(lines)


def _served_by(device: Matched) -> str:
    """The pattern; with a question mark one that depends on what is not known."""
    if device.unproved:
        return f"{device.pattern} (not proved)"
    return device.pattern or (f"{device.presumed}?" if device.presumed else "-")


def _nearest(device: Matched) -> str:
    if device.presumed:
        return next(n.why_not for n in device.nearest if n.pattern == device.presumed)
    near = next(iter(device.nearest), None)
    return f"not {near.pattern}: {near.why_not}" if near is not None else "-"


def _unmatched_lines(device: Matched) -> list[str]:
    """What a function without a pattern is, the nearest patterns and why they are not its own."""
    return [
        f"{device.address}  {device.ids} class {device.class_code} is needed: {device.because}",
        *(f"  {near.pattern}: {near.why_not}" for near in device.nearest),
        f"  next: {device.next}",
    ]


def summary_text(summary: Summary) -> str:
    """A line for each machine, then the functions that lack a pattern, then the total."""
    machines = [
        (
            c.machine,
            f"{c.served} of {c.functions}",
            ", ".join(c.cards) or "-",
            ", ".join(c.needs) or "-",
            ", ".join(c.lacks[:2]) + (f" and {len(c.lacks) - 2} more" * (len(c.lacks) > 2)) or "-",
        )
        for c in summary.machines
    ]
    gaps = [(g.ids, g.class_code, g.name, g.machines, g.needed or "-") for g in summary.gaps]
    parts = [
        table(("machine", "functions", "cards", "needs a pattern", "unknown"), machines),
        table(("no pattern", "class", "what it is", "machines", "needed on"), gaps),
    ]
    ready = sum(bool(c.cards) and not c.lacks for c in summary.machines)
    served = sum(c.served for c in summary.machines)
    functions = sum(c.functions for c in summary.machines)
    total = (
        f"{len(summary.machines)} machines, {ready} with a served card and no fact unknown; "
        f"{served} of {functions} functions have a pattern"
    )
    return "\n".join([*(part for part in parts if part), total])


def difference_text(difference: Difference) -> str:
    """The verdict, what stands in the way, every change, and the code that changes."""
    lines = [difference.verdict]
    devices = list(dict.fromkeys(x.device for x in difference.obstacles))
    for device in devices:
        first, *more = [x for x in difference.obstacles if x.device == device]
        by = "no row tests it" if first.by == "nobody" else first.by
        lines.append(f"  {by}: {first.text}{f' (and {len(more)} more)' if more else ''}")
    if difference.changes:
        lines += ["", "changes, A -> B"]
    for change in difference.changes:
        lines += [f"  {_change(change)}", f"    {change.kind.value}: {change.means}"]
    if difference.effects:
        rows = [(x.device, x.phase, x.a, x.b, x.differ, x.unit) for x in difference.effects]
        heads = ("code or rows of", "phase", "A", "B", "differ", "")
        lines += ["", table(heads, rows).rstrip()]
    return "\n".join(lines)


def _change(change: Meant) -> str:
    """One change on a line: "00:03.0 revision changed: 0x02 -> 0x03"."""
    what = f"{change.subject.strip()} {change.fact}".rstrip()
    if change.how == "changed":
        return f"{what} changed: {change.a} -> {change.b}"
    said = f"{change.a} {change.b}" if change.how == "moved" else change.a or change.b
    return f"{what} {change.how}: {said}"


def config_data(system: System, served: Sequence[Role] | None) -> dict[str, Any]:
    """The system as it takes effect. Without `served` no machine is known: the cards it names."""
    if served is None:
        cards = [
            {"card": name, "address": card.address or "", "services": card.services}
            for name, card in system.cards.items()
        ]
    else:
        cards = [
            {
                "card": role.card,
                "address": role.giver or str(role.interface),
                "services": role.services,
            }
            for role in served
        ]
    return {
        "name": system.name,
        "address": system.address,
        "services": system.services,
        "machine": served is not None,
        "cards": [
            card | {"services": system.services if card["services"] is None else card["services"]}
            for card in cards
        ],
    }


def config_text(data: dict[str, Any]) -> str:
    """The system's own keys, then a line for each card."""
    lines = [
        f"name      {data['name']}",
        f"address   {data['address']}",
        f"services  {', '.join(data['services'])}",
    ]
    rows = [
        (x["card"], x["address"] or "(counted)", ", ".join(x["services"])) for x in data["cards"]
    ]
    if rows:
        lines += ["", table(("card", "address", "services"), rows).rstrip()]
    if not data["machine"]:
        lines += ["", "no machine file: each card's address counts up from the first's"]
    elif not rows:
        lines += ["", "no card of this machine is served"]
    return "\n".join(lines)


def findings_text(findings: Sequence[Finding]) -> str:
    """What the host has and lacks; the lines that install what it lacks last."""
    rows = [
        (
            "ok" if f.found else ("MISSING" if f.need.value == "required" else "absent"),
            f.name,
            f.found or f"{f.why} ({f.need.value})",
        )
        for f in findings
    ]
    lines = [f"  {f.install:<48} # {f.name}" for f in findings if not f.found]
    install = "\nto install what is not there:\n" + "\n".join(lines) if lines else ""
    return table(("", "what", "found, or what it is for"), rows) + install


def verdicts_text(verdicts: Sequence[Verdict], console: str) -> str:
    """The verdicts as a table; where one failed, what was wrong and what the machine said."""
    rows = [
        (
            "ok" if v.passed else "FAILED",
            v.card,
            v.service,
            v.question,
            v.expected,
            f"{v.seconds * 1000:.1f} ms",
        )
        for v in verdicts
    ]
    failed = [v for v in verdicts if not v.passed]
    lines = [f"{v.card} {v.service}: {v.question}: {v.detail}".lstrip() for v in failed]
    if failed:
        lines += ["the machine's console:", *(f"  {line}" for line in _printable(console))]
    lines.append(f"{len(verdicts) - len(failed)} of {len(verdicts)} passed")
    heads = ("", "card", "service", "question", "expected", "took")
    return table(heads, rows) + "\n" + "\n".join(lines)


def _printable(text: str) -> list[str]:
    lines = ["".join(c if c.isprintable() else "." for c in line) for line in text.splitlines()]
    return lines or ["(nothing)"]
