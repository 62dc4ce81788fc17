"""Reads MIMIC-CXR-JPG with the reports of MIMIC-CXR (Johnson et al. 2019, arXiv 1901.07042).

Both need credentialed access at PhysioNet. Download into one folder, each table as .csv or .csv.gz:

- from mimic-cxr-jpg: `mimic-cxr-2.0.0-metadata.csv`, `mimic-cxr-2.0.0-chexpert.csv`,
  `mimic-cxr-2.0.0-split.csv`, and the images `files/p10/p10000032/s50414267/<dicom_id>.jpg`;
- from mimic-cxr: `mimic-cxr-reports.zip`, unpacked to `files/p10/p10000032/s50414267.txt`.

A part of the images will do; studies whose files are not there are counted as skipped.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from training.data.labels import CHEXPERT
from training.data.report import description
from training.data.sources.chexpert_labels import chexpert_findings, chexpert_metadata
from training.data.sources.mimic_files import read_text
from training.data.sources.table import rows
from training.data.study import LATERAL, DataError, ManifestStudy, Skipped, Split

SOURCE = "mimic_cxr"
FRONTAL = ("PA", "AP")
_SPLITS: dict[str, Split] = {"train": "train", "validate": "validation", "test": "test"}


def studies(root: Path, *, lateral: bool = False) -> Iterator[ManifestStudy | Skipped]:
    """Yields one study for each report, with its frontal images, PA before AP.

    lateral: its images of all other views too, as a study of their own with `-lateral` behind its
    id.

    The report is its findings and impression, else its impression, else its findings, else its
    last paragraph. Findings are the CheXpert labeller's on that report, None if its table has no
    row for the study; the split is the official one.
    """
    labels = {
        row.identifier("study_id"): row
        for row in rows(_table(root, "chexpert"), ("study_id", *CHEXPERT))
    }
    splits = {
        row.identifier("study_id"): row.choice("split", _SPLITS)
        for row in rows(_table(root, "split"), ("study_id", "split"))
    }
    for (patient, study), images in _images(root).items():
        folder = f"files/p{patient[:2]}/p{patient}"
        report = root / folder / f"s{study}.txt"
        others = sorted(images.keys() - set(FRONTAL)) if lateral else ()
        for ending, views in (("", FRONTAL), (LATERAL, others)):
            wanted = [(view, name) for view in views for name in sorted(set(images[view]))]
            present = [
                (view, path)
                for view, name in wanted
                if (root / (path := f"{folder}/s{study}/{name}.jpg")).is_file()
            ]
            if not wanted:
                if views:
                    yield Skipped(f"no image of view {' or '.join(FRONTAL)}")
            elif not present:
                yield Skipped("no image file")
            elif not report.is_file():
                yield Skipped("no report file")
            elif (text := _description(report)) is None:
                yield Skipped("report is not UTF-8 text")
            elif not text:
                yield Skipped("empty report")
            else:
                row = labels.get(study)
                yield ManifestStudy(
                    study_id=f"{study}{ending}",
                    patient_id=patient,
                    source=SOURCE,
                    images=tuple(path for _, path in present),
                    report=text,
                    view=present[0][0] or None,
                    findings=chexpert_findings(row) if row else None,
                    split=splits.get(study),
                    metadata=chexpert_metadata(row) if row else {},
                )


def _description(report: Path) -> str | None:
    """Returns what a report says of the image, "" if nothing; None if it is not UTF-8."""
    try:
        return description(read_text(report))
    except DataError:
        return None


def _images(root: Path) -> dict[tuple[str, str], dict[str, list[str]]]:
    """Returns {(patient, study): {view: dicom ids}}."""
    images: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    columns = ("subject_id", "study_id", "dicom_id", "ViewPosition")
    for row in rows(_table(root, "metadata"), columns):
        key = (row.identifier("subject_id"), row.identifier("study_id"))
        images[key][row["ViewPosition"].upper()].append(row.required("dicom_id"))
    return images


def _table(root: Path, name: str) -> Path:
    return root / f"mimic-cxr-2.0.0-{name}.csv"
