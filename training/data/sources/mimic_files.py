"""Finds an image and its report in MIMIC-CXR, for the data sets that annotate its images.

`path` is MIMIC-CXR's own: files/p10/p10000032/s50414267/<dicom_id>.dcm.
"""

from pathlib import Path, PurePosixPath

from training.data.study import DataError


def image_under(root: Path, path: str) -> str | None:
    """Returns the image relative to `root`: the DICOM file, else the JPEG, else None."""
    for image in (path, f"{path.removesuffix('.dcm')}.jpg"):
        if (root / image).is_file():
            return image
    return None


def report_under(root: Path, path: str) -> str:
    """Returns the report of the image's study (files/p10/p10000032/s50414267.txt) on one line."""
    study = PurePosixPath(path).parent
    return " ".join(read_text(root / f"{study}.txt").split())


def read_text(path: Path) -> str:
    """Returns a report or transcription; raises DataError, with its path, if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(
            f"{path}: the text is not UTF-8. Save it in that encoding, or download it again"
        ) from None
