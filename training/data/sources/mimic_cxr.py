"""Reads MIMIC-CXR-JPG with the reports of MIMIC-CXR (Johnson et al. 2019, arXiv 1901.07042).

Both need credentialed access at PhysioNet. Download into one folder, each table as .csv or .csv.gz:

- from mimic-cxr-jpg: `mimic-cxr-2.0.0-metadata.csv`, `mimic-cxr-2.0.0-chexpert.csv`,
  `mimic-cxr-2.0.0-split.csv`, and the images `files/p10/p10000032/s50414267/<dicom_id>.jpg`;
- from mimic-cxr: `mimic-cxr-reports.zip`, unpacked to `files/p10/p10000032/s50414267.txt`.

A part of the images will do; studies whose files are not there are counted as skipped.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.data.labels import CHEXPERT, chexpert_findings, chexpert_metadata
from training.data.report import description
from training.data.sources.table import rows
from training.data.study import ManifestStudy, Skipped, Split

SOURCE = "mimic_cxr"
FRONTAL = ("PA", "AP")
_SPLITS: dict[str, Split] = {"train": "train", "validate": "validation", "test": "test"}


def studies(root: Path, views: Sequence[str] = FRONTAL) -> Iterator[ManifestStudy | Skipped]:
    """Yields one study for each report, with its images of `views`, in the order of `views`.

    The report is its findings and impression, else its impression, else its findings, else its
    last paragraph. Findings are the CheXpert labeller's on that report; the split is the official
    one.
    """
    labels = {r["study_id"]: r for r in rows(_table(root, "chexpert"), ("study_id", *CHEXPERT))}
    splits = {
        r["study_id"]: _SPLITS[r["split"]]
        for r in rows(_table(root, "split"), ("study_id", "split"))
    }
    for (patient, study), images in _images(root).items():
        folder = f"files/p{patient[:2]}/p{patient}"
        report = root / folder / f"s{study}.txt"
        wanted = [(view, name) for view in views for name in sorted(images[view])]
        present = [
            (view, path)
            for view, name in wanted
            if (root / (path := f"{folder}/s{study}/{name}.jpg")).is_file()
        ]
        if not wanted:
            yield Skipped(f"no image of view {' or '.join(views)}")
        elif not present:
            yield Skipped("no image file")
        elif not report.is_file():
            yield Skipped("no report file")
        elif not (text := description(report.read_text(encoding="utf-8"))):
            yield Skipped("empty report")
        else:
            row = labels.get(study)
            yield ManifestStudy(
                study_id=study,
                patient_id=patient,
                source=SOURCE,
                images=tuple(path for _, path in present),
                report=text,
                view=present[0][0],
                findings=chexpert_findings(row) if row else None,
                split=splits.get(study),
                metadata=chexpert_metadata(row) if row else {},
            )


def _images(root: Path) -> dict[tuple[str, str], dict[str, list[str]]]:
    """{(patient, study): {view: dicom ids}}."""
    images: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    columns = ("subject_id", "study_id", "dicom_id", "ViewPosition")
    for row in rows(_table(root, "metadata"), columns):
        key = (row["subject_id"], row["study_id"])
        images[key][row["ViewPosition"]].append(row["dicom_id"])
    return images


def _table(root: Path, name: str) -> Path:
    return root / f"mimic-cxr-2.0.0-{name}.csv"
