"""Reads CheXpert (Irvin et al. 2019, arXiv 1901.07031), full size or small.

Download CheXpert-v1.0 or CheXpert-v1.0-small from the Stanford AIMI shared data sets; `root` is the
folder that holds `train.csv`, `valid.csv`, `train/` and `valid/`. It has no reports. They were
published later as CheXpert Plus (Chambon et al. 2024, arXiv 2405.19538). If
`df_chexpert_plus_240401.csv` lies in `root` too, its findings and impressions are read. Without it
every report is empty: enough for zero-shot evaluation, not for training.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from training.data.labels import CHEXPERT, chexpert_findings, chexpert_metadata
from training.data.report import titled
from training.data.sources.table import rows
from training.data.study import ManifestStudy, Scalar, Skipped, Split

SOURCE = "chexpert"
REPORTS = "df_chexpert_plus_240401.csv"
COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT)
_SPLITS: dict[str, Split] = {"train.csv": "train", "valid.csv": "validation"}


def studies(root: Path) -> Iterator[ManifestStudy | Skipped]:
    """Yields each study with its frontal images, in its published split (`valid`: validation).

    A finding is a label of 1. Uncertain labels (-1) are named in the metadata.
    """
    reports = _reports(root / REPORTS)
    for table, split in _SPLITS.items():
        for folder, views in _by_study(root / table).items():
            frontal = [row for row in views if row["Frontal/Lateral"] == "Frontal"]
            present = [row for row in frontal if (root / _image(row)).is_file()]
            if not frontal:
                yield Skipped("no frontal view")
            elif not present:
                yield Skipped("no image file")
            else:
                yield _study(present, folder, reports.get(folder, ""), split)


def _study(views: list[dict[str, str]], folder: str, report: str, split: Split) -> ManifestStudy:
    first = views[0]
    patient, study = PurePosixPath(folder).parts[1:]
    return ManifestStudy(
        study_id=f"{patient}-{study}",
        patient_id=patient,
        source=SOURCE,
        images=tuple(_image(row) for row in views),
        report=report,
        view=first["AP/PA"] or None,
        findings=chexpert_findings(first),
        split=split,
        metadata={**_person(first), **chexpert_metadata(first)},
    )


def _person(row: dict[str, str]) -> dict[str, Scalar]:
    return {"sex": row["Sex"].lower(), "age": int(row["Age"])}


def _by_study(table: Path) -> dict[str, list[dict[str, str]]]:
    """Returns {`train/patient00001/study1`: its rows}."""
    by_study: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows(table, COLUMNS):
        by_study[_folder(_image(row))].append(row)
    return by_study


def _reports(path: Path) -> dict[str, str]:
    """Returns {`train/patient00001/study1`: report}; {} without CheXpert Plus."""
    if not path.is_file():
        return {}
    columns = ("path_to_image", "section_findings", "section_impression")
    return {
        _folder(row["path_to_image"]): titled(row["section_findings"], row["section_impression"])
        for row in rows(path, columns)
    }


def _image(row: dict[str, str]) -> str:
    """Returns the path below `root`: `train/patient00001/study1/view1_frontal.jpg`."""
    return str(PurePosixPath(*PurePosixPath(row["Path"]).parts[1:]))


def _folder(image: str) -> str:
    return str(PurePosixPath(image).parent)
