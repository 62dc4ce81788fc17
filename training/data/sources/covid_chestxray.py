"""covid-chestxray-dataset (Cohen et al. 2020, arXiv 2006.11988): metadata.csv and images/.

Fetch https://github.com/ieee8023/covid-chestxray-dataset; licences are per image (`license`).
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from training.data.study import Study

SOURCE = "covid_chestxray"


def studies(root: Path) -> Iterator[Study]:
    """The radiographs that have a clinical note, one study an image; images relative to `root`.

    Findings are the leaves of the data set's own hierarchy (`Pneumonia/Viral/COVID-19`).
    """
    with (root / "metadata.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            note = " ".join(row["clinical_notes"].split())
            image = root / "images" / row["filename"]
            if note and row["modality"] == "X-ray" and image.is_file():
                yield _study(row, note)


def _study(row: dict[str, str], note: str) -> Study:
    finding = row["finding"].split("/")[-1].strip()
    return Study(
        study_id=Path(row["filename"]).stem,
        patient_id=row["patientid"],
        source=SOURCE,
        images=(f"images/{row['filename']}",),
        report=note,
        view=row["view"] or None,
        findings=() if finding in ("", "No Finding", "todo") else (finding.lower(),),
    )
