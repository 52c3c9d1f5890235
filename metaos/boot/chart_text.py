"""A boot chart as text and as a drawing: `text(chart)`, `svg(chart)`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from metaos.boot.chart import Chart
from metaos.boot.segments import Segment
from metaos.console import table

_ROW, _BAR, _NAMES, _WIDTH = 22, 380, 300, 980
_COLOURS = {"firmware": "#9a9a9a", "wait": "#d08a2e", "answer": "#3f8f4f"}
_OWN = "#3b6ea8"


def text(chart: Chart) -> str:
    """Every part in order, with its own cost and what had passed at its end."""
    headers = ("part", "rows", "turns", "instructions", "so far", "ms", "so far")
    rows = []
    for segment, counted, timed in _sums(chart):
        rows.append(
            (
                segment.name,
                segment.rows or "",
                segment.turns or "",
                _count(segment),
                f"{counted:,}",
                _milliseconds(segment.seconds),
                _milliseconds(timed),
            )
        )
    last = f"counted in one boot (tcg), timed in another ({chart.accelerator}); * about"
    return f"{chart.image}\n{table(headers, rows).rstrip()}\n{last}"


def svg(chart: Chart) -> str:
    """A bar for each part, as long as the logarithm of its instructions."""
    height = _ROW * (len(chart.segments) + 3)
    most = max((s.instructions for s in chart.segments), default=1)
    scale = _BAR / math.log10(max(most, 10))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="sans-serif" font-size="13">',
        f"<title>{escape(f'The start of {chart.image}')}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _words(10, 0, "instructions, on a logarithmic scale, and milliseconds; * about"),
    ]
    for number, segment in enumerate(chart.segments, 1):
        length = scale * math.log10(max(segment.instructions, 1))
        colour = _COLOURS.get(segment.kind, _OWN)
        lines.append(_words(10, number, segment.name))
        lines.append(
            f'<rect x="{_NAMES}" y="{number * _ROW + 4}" width="{length:.1f}" '
            f'height="{_ROW - 6}" fill="{colour}"/>'
        )
        said = f"{_count(segment)}   {_milliseconds(segment.seconds)} ms"
        lines.append(_words(_NAMES + length + 6, number, said))
    *_, (_, counted, timed) = _sums(chart)
    total = f"{counted:,} instructions, {_milliseconds(timed)} ms ({chart.accelerator})"
    lines.append(_words(10, len(chart.segments) + 1, f"in all: {total}"))
    return "\n".join([*lines, "</svg>", ""])


def _sums(chart: Chart) -> Iterator[tuple[Segment, int, float]]:
    """Each part with the instructions and seconds up to its end."""
    counted, timed = 0, 0.0
    for segment in chart.segments:
        counted += segment.instructions
        timed += segment.seconds or 0.0
        yield segment, counted, timed


def _words(x: float, row: int, said: str) -> str:
    return f'<text x="{x:.1f}" y="{row * _ROW + 17}">{escape(said)}</text>'


def _count(segment: Segment) -> str:
    return f"{segment.instructions:,}{'' if segment.exact else '*'}"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.3f}"
