"""Reads CheXpert (Irvin et al. 2019, arXiv 1901.07031), full size or small.

Download CheXpert-v1.0 or CheXpert-v1.0-small from the Stanford AIMI shared data sets; `root` is the
folder that holds `train.csv`, `valid.csv`, `train/` and `valid/`. It has no reports. They were
published later as CheXpert Plus (Chambon et al. 2024, arXiv 2405.19538). If
`df_chexpert_plus_240401.csv` lies in `root` too, its findings and impressions are read. Without it
every report is empty: enough for zero-shot evaluation, not for training. A part of the tables and
images will do; what is missing is counted as skipped.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from training.data.labels import CHEXPERT
from training.data.report import titled
from training.data.sources.chexpert_labels import chexpert_findings, chexpert_metadata
from training.data.sources.table import Row, present, rows
from training.data.study import LATERAL, ManifestStudy, Scalar, Skipped, Split

SOURCE = "chexpert"
REPORTS = "df_chexpert_plus_240401.csv"
COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT)
_SPLITS: dict[str, Split] = {"train.csv": "train", "valid.csv": "validation"}
_IMAGE_FOLDERS = ("train", "valid")
_PARTS = 4
"""Parts of an image's path: train, patient, study, file."""
_IS_FRONTAL = {"frontal": True, "lateral": False}


def studies(root: Path, *, lateral: bool = False) -> Iterator[ManifestStudy | Skipped]:
    """Yields each study with its frontal images, in its published split (`valid`: validation).

    lateral: its lateral images too, as a study of their own with `-lateral` behind its id.

    A finding is a label of 1. Uncertain labels (-1) are named in the metadata.
    """
    reports = _reports(root / REPORTS)
    present(root, *_SPLITS)
    for table, split in _SPLITS.items():
        if not (root / table).is_file():
            yield Skipped(f"no table {table}")
            continue
        for folder, views in _by_study(root / table).items():
            for frontal in (True, False) if lateral else (True,):
                wanted = [
                    row for row in views if row.choice("Frontal/Lateral", _IS_FRONTAL) == frontal
                ]
                there = [row for row in wanted if (root / _image(row, "Path")).is_file()]
                if there:
                    study = _study(there, folder, reports.get(folder, ""), split)
                    yield (
                        study if frontal else replace(study, study_id=f"{study.study_id}{LATERAL}")
                    )
                elif wanted:
                    yield Skipped("no image file")
                elif frontal:
                    yield Skipped("no frontal view")


def _study(views: list[Row], folder: str, report: str, split: Split) -> ManifestStudy:
    first = views[0]
    patient, study = PurePosixPath(folder).parts[1:]
    return ManifestStudy(
        study_id=f"{patient}-{study}",
        patient_id=patient,
        source=SOURCE,
        images=tuple(dict.fromkeys(_image(row, "Path") for row in views)),
        report=report,
        view=first["AP/PA"].upper() or None,
        findings=chexpert_findings(first),
        split=split,
        metadata={**_person(first), **chexpert_metadata(first)},
    )


def _person(row: Row) -> dict[str, Scalar]:
    """Returns what is known of sex and age (years)."""
    age = row.figure("Age")
    person: dict[str, Scalar] = {} if age is None else {"age": int(age)}
    return {"sex": row["Sex"].lower(), **person} if row["Sex"] else person


def _by_study(table: Path) -> dict[str, list[Row]]:
    """Returns {`train/patient00001/study1`: its rows}."""
    by_study: dict[str, list[Row]] = defaultdict(list)
    for row in rows(table, COLUMNS):
        by_study[_folder(_image(row, "Path"))].append(row)
    return by_study


def _reports(path: Path) -> dict[str, str]:
    """Returns {`train/patient00001/study1`: report}; {} without CheXpert Plus."""
    if not path.is_file():
        return {}
    columns = ("path_to_image", "section_findings", "section_impression")
    return {
        _folder(_image(row, columns[0])): titled(row["section_findings"], row["section_impression"])
        for row in rows(path, columns)
    }


def _image(row: Row, column: str) -> str:
    """Returns the path below `root`: `train/patient00001/study1/view1_frontal.jpg`.

    The folder before it, such as CheXpert-v1.0-small, may be missing.
    """
    parts = PurePosixPath(row.required(column).replace("\\", "/")).parts
    below = parts[next((at for at, part in enumerate(parts) if part in _IMAGE_FOLDERS), 0) :]
    if len(below) != _PARTS or below[0] not in _IMAGE_FOLDERS:
        raise row.fault(column, "it is not a path such as train/patient00001/study1/view1.jpg")
    return "/".join(below)


def _folder(image: str) -> str:
    return str(PurePosixPath(image).parent)
