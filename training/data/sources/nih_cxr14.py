"""Reads NIH ChestX-ray14 (Wang et al. 2017, arXiv 1705.02315).

Download from the NIH Clinical Center: `Data_Entry_2017.csv` (or its revision
`Data_Entry_2017_v2020.csv`), `train_val_list.txt`, `test_list.txt`, and the twelve archives of
images, unpacked to `images_001/images/00000001_000.png` … or all to `images/`. There are no
reports: they are empty. Labels were mined from reports by text, so they are noisy.
"""

from collections.abc import Iterator
from pathlib import Path

from training.data.labels import NO_FINDING
from training.data.sources.table import present, rows
from training.data.study import ManifestStudy, Skipped, Split

SOURCE = "nih_cxr14"
COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "View Position")
_SPLITS: dict[str, Split] = {"train_val_list.txt": "train", "test_list.txt": "test"}
_NAMES = {
    "No Finding": NO_FINDING,
    "Effusion": "pleural effusion",
    "Pleural_Thickening": "pleural thickening",
}
"""Labels whose lower-case form is not the name that other data sets use."""


def studies(root: Path) -> Iterator[ManifestStudy | Skipped]:
    """Yields one study for each image (all frontal), in the official split; train_val is train."""
    table = present(root, "Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
    files = {path.name: path for path in root.glob("images*/**/*.png")}
    splits = _splits(root)
    for row in rows(table, COLUMNS):
        name = row["Image Index"]
        if name not in files:
            yield Skipped("no image file")
        else:
            yield ManifestStudy(
                study_id=Path(name).stem,
                patient_id=row["Patient ID"],
                source=SOURCE,
                images=(files[name].relative_to(root).as_posix(),),
                report="",
                view=row["View Position"],
                findings=tuple(_NAMES.get(x, x.lower()) for x in row["Finding Labels"].split("|")),
                split=splits.get(name),
            )


def _splits(root: Path) -> dict[str, Split]:
    return {
        name: split
        for list_name, split in _SPLITS.items()
        for name in (root / list_name).read_text(encoding="utf-8").split()
    }
