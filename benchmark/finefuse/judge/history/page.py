"""A history as a page that opens from disk and asks for nothing else, and as a picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from finefuse.errors import StoreError
from finefuse.files import write_whole
from finefuse.judge.board import present
from finefuse.judge.history.chart import STYLE, Panel, chart, sheet
from finefuse.judge.history.series import Series
from finefuse.judge.history.steps import Step
from finefuse.judge.history.told import History, counted
from finefuse.text import escaped

PAGE, PICTURE = "history.html", "history.svg"
MOST = 12
"""Charts of the picture."""
_LOOK = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1d2430; --soft: #5d6776; --rule: #d9dee6; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14181f; --ink: #e6e9ee; --soft: #a3adbc; --rule: #333b47; }
}
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  background: var(--ground); color: var(--ink); }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: .9rem; }
th, td { text-align: left !important; vertical-align: top; padding: .3rem .9rem .3rem 0;
  border-bottom: 1px solid var(--rule); }
td:nth-child(-n+2), td:nth-child(4) { white-space: nowrap; }
summary { cursor: pointer; padding: .3rem 0; border-bottom: 1px solid var(--rule); }
summary span { color: var(--soft); }
.charts { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; padding: .5rem 0 1rem; }
figure { margin: 0; max-width: 100%; }
figcaption { font-size: .85rem; color: var(--soft); }
.chart { max-width: 100%; height: auto; }
"""


def write(history: History, into: Path) -> list[Path]:
    """Write the page and the picture, and name the files.

    Raises:
        StoreError: if they can't be written.
    """
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{into}: can't be written: {error.strerror or error}.") from error
    write_whole(into / PAGE, page(history), errors="backslashreplace")
    write_whole(into / PICTURE, picture(history), errors="backslashreplace")
    return [into / PAGE, into / PICTURE]


def page(history: History) -> str:
    """All of it: the steps as a table, and a chart of every measure by line, those with steps open."""
    title = escaped(f"History of {history.folder}")
    notes = "".join(f"<li>{escaped(note)}</li>" for note in history.notes)
    table = present.draw(history.table(), "html") if history.found else ""
    sections = "\n".join(_sections(history))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_LOOK}{STYLE}</style></head>
<body><h1>{title}</h1>
<p>{escaped(counted(history.found)).capitalize()}. Point at a value to see its commit.</p>
<ul>{notes}</ul>
{table}
<h2>Lines</h2>
{sections}
</body></html>
"""


def picture(history: History) -> str:
    """The charts with the newest steps; where there are none, those of the metrics that rank."""
    panels = _panels(history)
    stepped = sorted((p for p in panels if p.steps), key=lambda p: -max(step.point for step in p.steps))
    return sheet(history.points, (stepped or [p for p in panels if _ranks(p.parts[0][0])])[:MOST])


def _sections(history: History) -> Iterator[str]:
    lines: dict[str, list[Panel]] = defaultdict(list)
    for panel in _panels(history):
        lines[panel.line].append(panel)
    for line, panels in lines.items():
        steps = [step for panel in panels for step in panel.steps]
        figures = "".join(_figure(history, panel) for panel in panels)
        opened = " open" if steps else ""
        yield f"<details{opened}><summary>{escaped(line)} <span>{counted(steps)}</span></summary>"
        yield f'<div class="charts">{figures}</div></details>'


def _figure(history: History, panel: Panel) -> str:
    steps = f", {counted(panel.steps)}" if panel.steps else ""
    caption = f"<figcaption>{escaped(panel.title)}{steps}</figcaption>"
    return f"<figure>{caption}{chart(history.points, panel)}</figure>"


def _panels(history: History) -> list[Panel]:
    """By line and measure, in the order of the series."""
    parts: dict[tuple[str, str], list[tuple[Series, Sequence[Step]]]] = defaultdict(list)
    for i, series in enumerate(history.series):
        parts[series.line, series.measure.name].append((series, history.steps.get(i, ())))
    return [Panel(line, measure, own) for (line, measure), own in parts.items()]


def _ranks(series: Series) -> bool:
    return series.measure.metric == series.rows[-1][0].get("metrics", [""])[0] and series.measure.field.startswith(
        "test."
    )
