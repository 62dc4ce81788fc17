"""Reads covid-chestxray-dataset (Cohen et al. 2020, arXiv 2006.11988).

Download https://github.com/ieee8023/covid-chestxray-dataset: metadata.csv and images/. Each
image has its own licence (`license`).
"""

from collections.abc import Iterator
from pathlib import Path

from training.data.sources.table import Row, rows
from training.data.study import ManifestStudy, Skipped

SOURCE = "covid_chestxray"
_UNLABELLED = ("", "todo", "unknown")
COLUMNS = ("patientid", "finding", "view", "modality", "filename", "clinical_notes")


def studies(root: Path) -> Iterator[ManifestStudy | Skipped]:
    """Yields one study for each radiograph with a clinical note; images relative to `root`.

    Findings are the leaves of the data set's own hierarchy: `Pneumonia/Viral/COVID-19` gives
    COVID-19. A study may have several (`COVID-19, ARDS`). With `todo` or `Unknown` it has none.
    """
    for row in rows(root / "metadata.csv", COLUMNS):
        note = " ".join(row["clinical_notes"].split())
        if row["modality"].lower() != "x-ray":
            yield Skipped("not a radiograph")
        elif not note:
            yield Skipped("no clinical note")
        elif not (root / "images" / row.required("filename")).is_file():
            yield Skipped("no image file")
        else:
            yield _study(row, note)


def _study(row: Row, note: str) -> ManifestStudy:
    return ManifestStudy(
        study_id=Path(row["filename"]).stem,
        patient_id=row.identifier("patientid"),
        source=SOURCE,
        images=(f"images/{row['filename']}",),
        report=note,
        view=row["view"] or None,
        findings=_findings(row["finding"]) or None,
    )


def _findings(cell: str) -> tuple[str, ...]:
    """Returns the leaf of each path in the cell: the last name on it that says something."""
    paths = ([name.strip() for name in path.split("/")] for path in cell.lower().split(","))
    named = ([name for name in path if name not in _UNLABELLED] for path in paths)
    return tuple(dict.fromkeys(path[-1] for path in named if path))
