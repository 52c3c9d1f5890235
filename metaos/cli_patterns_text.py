"""Patterns as `metaos patterns list` and `show` print them, and as plain data for `--json`."""

from __future__ import annotations

from typing import Any

from metaos.console import not_proved, table
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Patterns
from metaos.pattern.resolved import Line, Resolved


def patterns_data(patterns: Patterns) -> dict[str, Any]:
    """Every device rule and service of the pattern folders, as plain data."""
    return {
        "devices": [
            {
                "name": pattern.name,
                "kind": pattern.lineage[-1].kind,
                "class": pattern.class_name,
                "family": pattern.family,
                "unproved": pattern.unproved,
                "matches": [_match(m) for m in pattern.of(s.Match)],
                **_place(pattern.span.file, pattern.span.line, patterns),
            }
            for pattern in patterns.devices.values()
            if not pattern.abstract
        ],
        "services": [
            {
                "name": service.name,
                "over": service.over,
                "examples": len(service.examples),
                **_place(service.span.file, service.span.line, patterns),
            }
            for service in patterns.services.values()
            if not service.model
        ],
        "replaced": list(patterns.replacements()),
    }


def _place(file: str, line: int, patterns: Patterns) -> dict[str, Any]:
    return {"file": patterns.place(file), "line": line, "replaces": file in patterns.hidden}


def _match(match: s.Match) -> str:
    keys = (f"{k} {v:#x}" if isinstance(v, int) else f"{k} {v}" for k, v in match.keys)
    entry = () if match.entry is None else (f"entry {match.entry}",)
    return " ".join((match.kind, *([match.name] if match.name else ()), *entry, *keys))


def patterns_text(patterns: Patterns) -> str:
    """Devices and services as two tables; then the files that do not count."""
    data = patterns_data(patterns)
    devices = [
        (_named(d), d["class"], "; ".join(d["matches"]), f"{d['file']}:{d['line']}")
        for d in data["devices"]
    ]
    services = [
        (x["name"], x["over"], x["examples"], f"{x['file']}:{x['line']}") for x in data["services"]
    ]
    return "\n".join(
        (
            table(("device", "class", "matches", "where"), devices),
            table(("service", "over", "examples", "where"), services),
            *data["replaced"],
        )
    )


def _named(device: dict[str, Any]) -> str:
    return f"{device['name']} (not proved on silicon)" if device["unproved"] else device["name"]


def resolved_text(shown: Resolved, patterns: Patterns) -> str:
    """What a rule is made of, its lines with their places, and what of it does not count."""
    text = [f"{shown.name} : {shown.of}", ""]
    if shown.unproved:
        text += [not_proved(shown.name, shown.unproved), ""]
    for origin in shown.origins:
        place = f"{patterns.place(origin.file)}:{origin.line}"
        text.append(f"  {origin.says}  ({place})")
        text += [f"    because {origin.because}"] if origin.because else []
        if origin.file in patterns.hidden:
            text.append("    this file replaces one of the same path")
    width = max((len(_where(x, patterns)) for x in shown.lines), default=0)
    items: list[list[Line]] = []
    for line in shown.lines:
        items += [[]] if line.first else []
        items[-1].append(line)
    alone = False
    for item in items:
        text += [] if alone and len(item) == 1 else [""]
        alone = len(item) == 1
        text += [f"{_where(x, patterns):<{width}}  {x.text}".rstrip() for x in item]
    if shown.replaced:
        text += ["", "replaced:"]
        text += [
            f"  {patterns.place(x.file)}:{x.line}  {x.item}"
            f"  by {patterns.place(x.by_file)}:{x.by_line}"
            for x in shown.replaced
        ]
    return "\n".join(text)


def _where(line: Line, patterns: Patterns) -> str:
    return f"{patterns.place(line.file)}:{line.line}"
