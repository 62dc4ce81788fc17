"""Paediatric chest radiographs (Kermany et al. 2018, doi 10.1016/j.cell.2018.02.010), as a table.

`images/` and `labels.csv` with filename, label (`normal` or `pneumonia`), subtype (`bacteria`,
`virus` or empty) and patient, all of which the published file names say. There are no reports:
they are empty. The patients are one to five years old, so a model of adults is out of its range.
"""

from collections.abc import Iterator
from pathlib import Path

from training.data.labels import NO_FINDING
from training.data.sources.table import rows
from training.data.study import DataError, ManifestStudy, Skipped

SOURCE = "pediatric_pneumonia"
COLUMNS = ("filename", "label", "subtype", "patient")
_FINDINGS = {"normal": (NO_FINDING,), "pneumonia": ("pneumonia",)}


def studies(root: Path) -> Iterator[ManifestStudy | Skipped]:
    """One study an image; raises DataError at a label that is neither of the two."""
    for row in rows(root / "labels.csv", COLUMNS):
        if row["label"] not in _FINDINGS:
            raise DataError(f"labels.csv has the label {row['label']!r}")
        image = f"images/{row['filename']}"
        if not (root / image).is_file():
            yield Skipped("no image file")
            continue
        yield ManifestStudy(
            study_id=Path(row["filename"]).stem,
            patient_id=row["patient"],
            source=SOURCE,
            images=(image,),
            report="",
            findings=_FINDINGS[row["label"]],
            metadata={"subtype": row["subtype"]} if row["subtype"] else {},
        )
