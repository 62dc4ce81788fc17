"""Reads paediatric chest radiographs, pneumonia or normal, from a table.

Kermany et al. 2018, doi 10.1016/j.cell.2018.02.010. It needs `images/`, and `labels.csv` with
filename, label (`normal` or `pneumonia`), subtype (`bacteria`, `virus` or empty) and patient; the
published file names say all of them. Reports are empty. The patients are one to five years old,
out of the range of a model of adults.
"""

from collections.abc import Iterator
from pathlib import Path

from training.data.labels import NO_FINDING
from training.data.sources.table import rows
from training.data.study import ManifestStudy, Skipped

SOURCE = "pediatric_pneumonia"
COLUMNS = ("filename", "label", "subtype", "patient")
_FINDINGS = {"normal": (NO_FINDING,), "pneumonia": ("pneumonia",)}


def studies(root: Path) -> Iterator[ManifestStudy | Skipped]:
    """Yields one study for each image; raises DataError for a label that is neither of the two."""
    for row in rows(root / "labels.csv", COLUMNS):
        findings = row.choice("label", _FINDINGS)
        image = f"images/{row.required('filename')}"
        if not (root / image).is_file():
            yield Skipped("no image file")
            continue
        yield ManifestStudy(
            study_id=Path(row["filename"]).stem,
            patient_id=row.identifier("patient"),
            source=SOURCE,
            images=(image,),
            report="",
            findings=findings,
            metadata={"subtype": row["subtype"].lower()} if row["subtype"] else {},
        )
