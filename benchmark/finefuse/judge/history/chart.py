"""Measures of lines over all points, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from finefuse.judge.board.present import ARROWS
from finefuse.judge.gate.shown import number
from finefuse.judge.history.points import Point
from finefuse.judge.history.series import Series
from finefuse.judge.history.steps import Step, levels
from finefuse.text import escaped, plain

WIDE, HIGH = 330, 100
LEFT, EDGE = 74, 12
"""Room for the values at the left, and on all sides."""
ACROSS = 3
"""Charts beside each other."""
LONGEST = 50
"""Characters of a name above a chart."""
STYLE = """
.chart { --ink: #1d2430; --soft: #5d6776; --line: #2f6fb3; --worse: #b3321f; --better: #1f7a3d; --rule: #d9dee6; }
@media (prefers-color-scheme: dark) {
  .chart { --ink: #e6e9ee; --soft: #a3adbc; --line: #7db3ea; --worse: #ff8a73; --better: #6fd08f; --rule: #333b47; }
}
.chart text { font: 11px system-ui, sans-serif; fill: var(--soft); }
.chart .name { fill: var(--ink); font-size: 12px; }
.chart .rule { stroke: var(--rule); }
.chart .way { fill: none; stroke: var(--line); stroke-opacity: .45; }
.chart .level { stroke: var(--line); stroke-width: 2; }
.chart .value { fill: var(--line); }
.chart .worse { fill: var(--worse); }
.chart .better { fill: var(--better); }
"""
"""Colours for light and dark, which every document with charts holds."""


@dataclass(frozen=True)
class Panel:
    """All series of one line and measure, each with its steps."""

    line: str
    measure: str
    parts: Sequence[tuple[Series, Sequence[Step]]]

    @property
    def steps(self) -> list[Step]:
        """All of them."""
        return [step for _, steps in self.parts for step in steps]

    @property
    def title(self) -> str:
        """The measure, and which direction is better."""
        return f"{self.measure} {ARROWS['lower' if self.parts[0][0].measure.lower else 'higher']}"


def sheet(points: Sequence[Point], panels: Sequence[Panel]) -> str:
    """A document of its own with many charts, under the names of their lines."""
    high, drawn = HIGH + 40, []
    for i, panel in enumerate(panels):
        x, y = i % ACROSS * (WIDE + EDGE), i // ACROSS * high
        line = plain(panel.line)
        name = line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
        names = f'<text class="name" y="12">{escaped(name)}</text><text y="27">{escaped(panel.title)}</text>'
        drawn.append(f'<g transform="translate({x} {y})">{names}<g transform="translate(0 32)">')
        drawn.append(f"{chart(points, panel)}</g></g>")
    wide, high = (WIDE + EDGE) * ACROSS, high * -(-len(panels) // ACROSS)
    size = f'width="{wide}" height="{high}" viewBox="0 0 {wide} {high}"'
    head = f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" {size}>'
    return f"{head}\n<style>{STYLE}</style>\n" + "\n".join(drawn) + "\n</svg>\n"


def chart(points: Sequence[Point], panel: Panel) -> str:
    """One chart: what can't be compared isn't joined, and each value says when it was and of which commit."""
    axes = _Axes.of(len(points), [value for series, _ in panel.parts for value in series.values])
    drawn = [piece for series, steps in panel.parts for piece in _drawn(points, series, steps, axes)]
    labels = [_label(axes.y(value), value) for value in dict.fromkeys((axes.low, axes.high))]
    head = f'<svg class="chart" role="img" width="{WIDE}" height="{HIGH}" viewBox="0 0 {WIDE} {HIGH}">'
    return f"{head}<title>{escaped(panel.line)}: {escaped(panel.title)}</title>{''.join([*labels, *drawn])}</svg>"


@dataclass(frozen=True)
class _Axes:
    """Where points and values are drawn."""

    points: int
    low: float
    high: float

    @classmethod
    def of(cls, points: int, values: Sequence[float]) -> _Axes:
        return cls(points, min(values), max(values))

    def x(self, point: int) -> float:
        return LEFT + EDGE + (WIDE - LEFT - 2 * EDGE) * point / max(1, self.points - 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return HIGH - EDGE - (HIGH - 2 * EDGE) * share


def _drawn(points: Sequence[Point], series: Series, steps: Sequence[Step], axes: _Axes) -> Iterator[str]:
    places = [(axes.x(at), axes.y(value)) for at, value in zip(series.points, series.values, strict=True)]
    yield f'<polyline class="way" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'
    found = levels(series, [step.at for step in steps])
    for (a, b), level in zip(pairwise([*found, len(places)]), found.values(), strict=True):
        ends = f'x1="{places[a][0] - 3:.1f}" x2="{places[b - 1][0] + 3:.1f}"'
        yield f'<line class="level" {ends} y1="{axes.y(level):.1f}" y2="{axes.y(level):.1f}"/>'
    kinds = {step.at: "worse" if step.worse else "better" for step in steps}
    for i, (x, y) in enumerate(places):
        point, kind = points[series.points[i]], kinds.get(i, "value")
        said = " ".join(filter(None, [point.name, point.when[:10], number(series.values[i]), point.title]))
        circle = f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{4.5 if i in kinds else 2.2}">'
        yield f"{circle}<title>{escaped(said)}</title></circle>"


def _label(y: float, value: float) -> str:
    rule = f'<line class="rule" x1="{LEFT}" x2="{WIDE}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{rule}<text x="{LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>'
