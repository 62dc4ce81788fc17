"""Finds an image and its report in MIMIC-CXR, for the data sets that annotate its images.

`path` is MIMIC-CXR's own: files/p10/p10000032/s50414267/<dicom_id>.dcm.
"""

from pathlib import Path, PurePosixPath


def image_under(root: Path, path: str) -> str | None:
    """Returns the image relative to `root`: the DICOM file, else the JPEG, else None."""
    for image in (path, str(PurePosixPath(path).with_suffix(".jpg"))):
        if (root / image).is_file():
            return image
    return None


def report_under(root: Path, path: str) -> str:
    """Returns the report of the image's study (files/p10/p10000032/s50414267.txt) on one line."""
    study = PurePosixPath(path).parent
    return " ".join((root / f"{study}.txt").read_text(encoding="utf-8").split())
