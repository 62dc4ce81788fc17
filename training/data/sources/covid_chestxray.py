"""Reads covid-chestxray-dataset (Cohen et al. 2020, arXiv 2006.11988).

Download https://github.com/ieee8023/covid-chestxray-dataset: metadata.csv and images/. Each
image has its own licence (`license`).
"""

from collections.abc import Iterator
from pathlib import Path

from training.data.sources.table import rows
from training.data.study import ManifestStudy, Skipped

SOURCE = "covid_chestxray"
_UNLABELLED = ("", "todo")
COLUMNS = ("patientid", "finding", "view", "modality", "filename", "clinical_notes")


def studies(root: Path) -> Iterator[ManifestStudy | Skipped]:
    """Yields one study for each radiograph with a clinical note; images relative to `root`.

    Findings are the leaves of the data set's own hierarchy: `Pneumonia/Viral/COVID-19` gives
    COVID-19. A study may have several (`COVID-19, ARDS`).
    """
    for row in rows(root / "metadata.csv", COLUMNS):
        note = " ".join(row["clinical_notes"].split())
        if row["modality"] != "X-ray":
            yield Skipped("not a radiograph")
        elif not note:
            yield Skipped("no clinical note")
        elif not (root / "images" / row["filename"]).is_file():
            yield Skipped("no image file")
        else:
            yield _study(row, note)


def _study(row: dict[str, str], note: str) -> ManifestStudy:
    return ManifestStudy(
        study_id=Path(row["filename"]).stem,
        patient_id=row["patientid"],
        source=SOURCE,
        images=(f"images/{row['filename']}",),
        report=note,
        view=row["view"] or None,
        findings=_findings(row["finding"]) or None,
    )


def _findings(finding: str) -> tuple[str, ...]:
    leaves = finding.split("/")[-1].lower().split(",")
    return tuple(leaf.strip() for leaf in leaves if leaf.strip() not in _UNLABELLED)
