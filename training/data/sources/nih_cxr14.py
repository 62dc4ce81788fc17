"""Reads NIH ChestX-ray14 (Wang et al. 2017, arXiv 1705.02315).

Download from the NIH Clinical Center: `Data_Entry_2017.csv` (or its revision
`Data_Entry_2017_v2020.csv`), `train_val_list.txt`, `test_list.txt`, and the twelve archives of
images, unpacked to `images_001/images/00000001_000.png` … or all to `images/`. There are no
reports: they are empty. Labels were mined from reports by text, so they are noisy.
"""

from collections.abc import Iterator
from pathlib import Path

from training.data.labels import NO_FINDING
from training.data.sources.table import Row, present, rows
from training.data.study import ManifestStudy, Skipped, Split

SOURCE = "nih_cxr14"
COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "View Position")
_SPLITS: dict[str, Split] = {"train_val_list.txt": "train", "test_list.txt": "test"}
_NAMES = {"effusion": "pleural effusion"}
"""Labels whose lower-case form is not the name that other data sets use."""


def studies(root: Path) -> Iterator[ManifestStudy | Skipped]:
    """Yields one study for each image (all frontal), in the official split; train_val is train."""
    table = present(root, "Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
    files = {path.name: path for path in root.glob("images*/**/*.png")}
    splits = _splits(root)
    for row in rows(table, COLUMNS):
        name = row.required("Image Index")
        if name not in files:
            yield Skipped("no image file")
        else:
            yield ManifestStudy(
                study_id=Path(name).stem,
                patient_id=row.identifier("Patient ID"),
                source=SOURCE,
                images=(files[name].relative_to(root).as_posix(),),
                report="",
                view=row["View Position"].upper() or None,
                findings=_findings(row),
                split=splits.get(name),
            )


def _findings(row: Row) -> tuple[str, ...] | None:
    """Returns the labels; None where there are none. `No Finding` next to others says nothing."""
    labels = (
        " ".join(x.replace("_", " ").split()).lower() for x in row["Finding Labels"].split("|")
    )
    names = tuple(dict.fromkeys(_NAMES.get(label, label) for label in labels if label))
    return tuple(name for name in names if name != NO_FINDING) or names or None


def _splits(root: Path) -> dict[str, Split]:
    return {
        name: split
        for list_name, split in _SPLITS.items()
        for name in present(root, list_name).read_text(encoding="utf-8-sig").split()
    }
