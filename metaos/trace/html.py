"""A trace as one HTML page that needs nothing else: no script, no font, no link.

    page(trace)         # text from "<!doctype html>" to "</html>"

Everything that comes from a trace is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from metaos.trace.records import Step, Trace
from metaos.trace.text import arrival_lines, dump, effects, groups, headline, row_cells

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 80em; padding: 0 1em; }
h1 { font-size: 1.3em; } h2 { font-size: 1.1em; margin-top: 2em; }
pre, code, td { font-family: monospace; font-size: 13px; }
section { border-left: 4px solid #7a8fb5; margin: 1.2em 0; padding-left: .8em; }
section.shared { border-color: #b58f7a; }
h3 { font-size: 1em; font-weight: normal; margin: 0 0 .3em; }
h3 code { font-weight: bold; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .1em .8em .1em 0; }
td.code { opacity: .65; white-space: nowrap; } td.text { white-space: nowrap; }
tr.fails td { color: #c0392b; font-weight: bold; }
.where, .note { opacity: .7; } ul { list-style: none; margin: .2em 0; padding-left: 1em; }
"""


def page(trace: Trace) -> str:
    """The whole page."""
    body = _rows(trace) if trace.phase != "steady" else _turns(trace)
    title = escape(headline(trace))
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    note = "<p class=note>Executed: the image's machine code. No device is there.</p>"
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><h1>{title}</h1>{note}\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _turns(trace: Trace) -> Iterator[str]:
    yield f"<h2>The frame</h2><p>{escape(trace.about)}</p>"
    yield _pre(dump(trace.frame))
    if trace.assumed:
        yield "<h2>Known before the first turn</h2>"
        yield _pre(f"{c.place} = {c.after}" for c in trace.assumed)
    for arrival, turn in zip(trace.arrivals, trace.turns, strict=True):
        yield f"<h2>Turn {turn.number}</h2>"
        yield _pre(arrival_lines(trace, arrival))
        for group in groups(trace, turn):
            shared = "" if group.device == trace.card else " class=shared"
            derived = " (derived)" if group.derived else ""
            yield (
                f"<section{shared}><h3><code>{escape(group.source)}</code> "
                f"<span class=where>{escape(f'{group.device} {group.where}{derived}')}</span></h3>"
            )
            if group.ir:
                ops = "".join(f"<li><code>{escape(op)}</code></li>" for op in group.ir)
                yield f"<details><summary>{len(group.ir)} ops</summary><ul>{ops}</ul></details>"
            yield f"<table>{''.join(_instruction(step) for step in group.steps)}</table></section>"
        yield f"<p>{len(turn.steps)} instructions</p>"


def _instruction(step: Step) -> str:
    return (
        f"<tr><td class=code>{escape(step.address)}</td><td class=code>{escape(step.code)}</td>"
        f"<td class=text>{escape(step.text)}</td><td>{escape(effects(step))}</td></tr>"
    )


def _rows(trace: Trace) -> Iterator[str]:
    yield _pre(f"{c.place} = {c.after}" for c in trace.assumed)
    yield "<table><tr>"
    for name in ("row", "device", "line", "does", "place", "value", "mask", "found", "from", ""):
        yield f"<th>{name}</th>"
    yield "</tr>"
    for row in trace.rows:
        kind = "" if row.passed else " class=fails"
        line = trace.sources.get(f"{row.file}:{row.line}", "")
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row_cells(row))
        yield f'<tr{kind} title="{escape(line, quote=True)}">{cells}</tr>'
    yield f"</table><p>{escape(trace.ends)}</p>"
    yield _pre(row.says for row in trace.rows if row.says)


def _pre(lines: Iterable[str]) -> str:
    text = "\n".join(lines)
    return f"<pre>{escape(text)}</pre>" if text else ""
