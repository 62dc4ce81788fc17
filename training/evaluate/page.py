"""Writes a result as one HTML page with tables and figures, and as metrics.json."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path

from training.evaluate.compare import largest
from training.evaluate.figures import figures
from training.evaluate.result import COLUMNS, Estimate, Measurement, Result

METRICS, PAGE = "metrics.json", "report.html"
_TITLES = {
    "zero_shot": "Zero-shot findings",
    "linear_probe": "Linear probe",
    "retrieval": "Retrieval",
    "geometry": "Geometry",
    "reports": "Retrieved reports",
    "maps": "Maps",
}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2733; max-width: 46rem; margin: 0 auto;
  padding: 1rem; background: #fff }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #d5dde5 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #e6ebf0 }
th:first-child, td:first-child { text-align: left; min-width: 7rem; overflow-wrap: anywhere }
.scroll { overflow-x: auto } img { max-width: 100% } figure { margin: 1.5rem 0 }
figcaption, .note { color: #5a6978; font-size: .9rem }
"""


def write(result: Result, folder: Path) -> None:
    """Writes metrics.json and report.html into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METRICS).write_text(result.to_json(), encoding="utf-8")
    (folder / PAGE).write_text(page(result), encoding="utf-8")


def page(result: Result) -> str:
    """Returns the page as HTML without scripts and without references to other files."""
    title = f"Evaluation of {result.about.get('encoder', 'an encoder')}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(title)}</h1>",
        "<p>Research software, not a medical device. Intervals are over the patients of these "
        "studies; chance is the value without looking at the image.</p>",
        _table(("fact", ""), ((name, str(value)) for name, value in result.about.items())),
    ]
    for name, section in result.sections.items():
        parts += _section(name, section)
    for other, gaps in result.differences.items():
        parts += _differences(other, gaps)
    return "\n".join(parts) + "\n"


def _section(name: str, section: Measurement) -> Iterator[str]:
    yield f"<h2>{_TITLES[name]}</h2>"
    yield from (f'<p class="note">{escape(note)}</p>' for note in section.notes)
    if section.values:
        rows = ((_words(key), *estimate.cells()) for key, estimate in section.values.items())
        yield _table(("measure", *COLUMNS), rows)
    if section.by_label:
        yield "<h3>By label</h3>"
        yield _label_table(section.by_label)
    for caption, png in figures(section):
        source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
        yield f'<figure><img alt="{escape(caption)}" src="{source}">'
        yield f"<figcaption>{escape(caption)}</figcaption></figure>"


def _label_table(by_label: Mapping[str, Mapping[str, Estimate]]) -> str:
    names = tuple(dict.fromkeys(name for row in by_label.values() for name in row))
    return _table(
        ("label", *map(_words, names)),
        (
            (label, *(row[name].cells()[0] if name in row else "" for name in names))
            for label, row in by_label.items()
        ),
    )


def _differences(other: str, gaps: Mapping[str, float]) -> Iterator[str]:
    name, gap = largest(dict(gaps))
    yield f"<h2>Against {escape(other)}</h2>"
    yield f"<p>The largest difference is {gap:.1e}, of {escape(_words(name))}.</p>"
    yield _table(
        ("measure", "difference"), ((_words(key), f"{gap:+.1e}") for key, gap in gaps.items())
    )


def _words(name: str) -> str:
    """Returns a measure's name with spaces, at which a narrow screen can break it."""
    return name.replace("_", " ").replace("/", " / ")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [_cells("th", head), *(_cells("td", row) for row in rows)]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _cells(kind: str, texts: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{kind}>{escape(text)}</{kind}>" for text in texts) + "</tr>"
