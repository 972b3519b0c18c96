"""A picture of how a time grows: lines over two logarithmic axes, as SVG.

It is readable in light and in dark mode: its own page and its text change together, as the reader's
system asks for (prefers-color-scheme), and the lines have colours that stand out on both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 440
SIZE = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
LEFT, RIGHT, TOP, BOTTOM = 76, 132, 48, 60

STYLE = """
.page { fill: #ffffff; }
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.grid { stroke: #d0d7de; stroke-width: 1; }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117; }
  text { fill: #e6edf3; }
  .grid { stroke: #3d444d; }
}
""".strip()


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a curve; both numbers are above 0."""

    x: float
    """Its place across."""
    y: float
    """Its place upwards."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of a picture."""

    name: str
    """What stands at its end."""
    colour: str
    """Its colour, which must stand out on white and on black."""
    points: Sequence[Point]
    """Its points, from left to right."""
    dashed: bool = False
    """Whether it is broken, for readers who do not tell the colours apart."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A logarithmic axis over whole decades."""

    lowest: int
    """The exponent of ten where it begins."""
    highest: int
    """The exponent of ten where it ends."""
    begin: float
    """Where it begins, in pixels."""
    end: float
    """Where it ends, in pixels."""

    def pixel(self, value: float) -> float:
        """Return where a value is, in pixels."""
        share = (math.log10(value) - self.lowest) / (self.highest - self.lowest)
        return round(self.begin + share * (self.end - self.begin), 1)

    @property
    def decades(self) -> list[int]:
        """Return the exponents of ten at which a grid line is drawn."""
        return list(range(self.lowest, self.highest + 1))


def draw(title: str, curves: Sequence[Curve], *, across: str, upwards: str) -> str:
    """Return a picture of some curves; `across` and `upwards` say what its axes count."""
    points = [point for curve in curves for point in curve.points]
    x = _axis([point.x for point in points], LEFT, WIDTH - RIGHT)
    y = _axis([point.y for point in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {SIZE} role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}\n</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
        *_across(x, y, across),
        *_upwards(x, y, upwards),
        *[part for curve in curves for part in _curve(curve, x, y)],
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _axis(values: Sequence[float], begin: float, end: float) -> Axis:
    """Return an axis that has all values, of at least one decade."""
    lowest = math.floor(math.log10(min(values)))
    highest = max(lowest + 1, math.ceil(math.log10(max(values))))
    return Axis(lowest, highest, begin, end=end)


def _across(x: Axis, y: Axis, name: str) -> list[str]:
    parts = []
    for decade in x.decades:
        place = x.pixel(10**decade)
        parts += [
            f'<path class="grid" d="M{place} {y.begin}V{y.end}"/>',
            f'<text x="{place}" y="{y.begin + 20}" text-anchor="middle">{_number(decade)}</text>',
        ]
    middle = (x.begin + x.end) / 2
    return [
        *parts,
        f'<text x="{middle}" y="{y.begin + 44}" text-anchor="middle">{escape(name)}</text>',
    ]


def _upwards(x: Axis, y: Axis, name: str) -> list[str]:
    parts = []
    for decade in y.decades:
        place = y.pixel(10**decade)
        parts += [
            f'<path class="grid" d="M{x.begin} {place}H{x.end}"/>',
            f'<text x="{x.begin - 8}" y="{place + 4}" text-anchor="end">{_number(decade)}</text>',
        ]
    middle = (y.begin + y.end) / 2
    turned = f'transform="rotate(-90 20 {middle})"'
    return [
        *parts,
        f'<text x="20" y="{middle}" {turned} text-anchor="middle">{escape(name)}</text>',
    ]


def _curve(curve: Curve, x: Axis, y: Axis) -> list[str]:
    places = [(x.pixel(point.x), y.pixel(point.y)) for point in curve.points]
    corners = " ".join(f"{left},{top}" for left, top in places)
    dashes = ' stroke-dasharray="7 5"' if curve.dashed else ""
    right, top = places[-1]
    return [
        f'<polyline class="line" stroke="{curve.colour}"{dashes} points="{corners}"/>',
        *[
            f'<circle cx="{left}" cy="{top}" r="3.5" fill="{curve.colour}"/>'
            for left, top in places
        ],
        f'<text x="{right + 10}" y="{top + 4}">{escape(curve.name)}</text>',
    ]


def _number(decade: int) -> str:
    """Return ten to the power of a number as people write it."""
    if decade >= 6:
        return f"{10 ** (decade - 6):,}M"
    return f"{10**decade:,}" if decade >= 0 else f"{10.0**decade:g}"
