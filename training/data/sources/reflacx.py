"""Reads REFLACX, the gaze of five radiologists.

Bigolin Lanfredi et al. 2022, doi 10.1038/s41597-022-01441-z.

Download the folder main_data/ of PhysioNet's reflacx-xray-localization 1.0.0, and next to it the
images that it names in the folder files/ of MIMIC-CXR 2.0.0, as DICOM or from MIMIC-CXR-JPG.

Files and columns used. main_data/metadata_phase_<n>.csv, a row a reading: id;
eye_tracking_data_discarded; image, which ends with MIMIC-CXR's path; dicom_id; subject_id;
image_size_x and image_size_y, pixels. main_data/<id>/transcription.txt, what was dictated.
main_data/<id>/fixations.csv: timestamp_{start,end}_fixation, seconds; {x,y}_position,
{xmin,ymin,xmax,ymax}_shown_from_image and angular_resolution_{x,y}_pixels_per_degree, pixels of the
image.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

from training.data.sources.mimic_files import image_under, read_text
from training.data.sources.table import Row, rows
from training.data.study import DataError, Gaze, ManifestStudy

SOURCE = "reflacx"
READING_COLUMNS = (
    "id",
    "eye_tracking_data_discarded",
    "image",
    "dicom_id",
    "subject_id",
    "image_size_x",
    "image_size_y",
)
TIMES = ("timestamp_start_fixation", "timestamp_end_fixation")
PLACE = ("x_position", "y_position")
DEGREES = tuple(f"angular_resolution_{axis}_pixels_per_degree" for axis in "xy")
SHOWN = tuple(f"{edge}_shown_from_image" for edge in ("xmin", "ymin", "xmax", "ymax"))
_MIMIC_PATH = re.compile(r"files/p\d+/p\d+/s\d+/[^/]+\.dcm$")
_DISCARDED = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}

Fixation = tuple[float, float, float, tuple[float, float], tuple[float, float, float, float]]
"""x, y, milliseconds, span of one degree, part of the image shown; as in Gaze."""


def studies(root: Path) -> Iterator[ManifestStudy]:
    """Yields one study for each image that was downloaded; `study_id` is its dicom_id.

    Image paths are relative to `root`. Each reading is a gaze and a paragraph of the report, in the
    order of the metadata. Left out are readings whose eye tracking was discarded, and fixations
    outside of the image or without a place.
    """
    main = root / "main_data"
    for dicom_id, readings in _readings(main).items():
        image = image_under(root, _mimic_path(readings[0]))
        if image:
            gaze = (_gaze(main / row.required("id") / "fixations.csv", row) for row in readings)
            yield ManifestStudy(
                study_id=dicom_id,
                patient_id=readings[0].identifier("subject_id"),
                source=SOURCE,
                images=(image,),
                report="\n".join(_transcription(main / row["id"]) for row in readings),
                gaze=tuple(reading for reading in gaze if len(reading)),
            )


def _readings(main: Path) -> dict[str, list[Row]]:
    """Returns the rows with gaze of every phase, by image."""
    tables = sorted(main.glob("metadata_phase_*.csv"))
    if not tables:
        raise FileNotFoundError(f"no metadata_phase_*.csv in {main}; download main_data/ there")
    readings: dict[str, list[Row]] = {}
    for table in tables:
        for row in rows(table, READING_COLUMNS):
            if not row.choice("eye_tracking_data_discarded", _DISCARDED):
                readings.setdefault(row.required("dicom_id"), []).append(row)
    return readings


def _mimic_path(row: Row) -> str:
    match = _MIMIC_PATH.search(row["image"].replace("\\", "/"))
    if not match:
        raise DataError(
            f"reading {row['id']} has an image that is not a path of MIMIC-CXR; download "
            "main_data/ again"
        )
    return match[0]


def _transcription(folder: Path) -> str:
    return " ".join(read_text(folder / "transcription.txt").split())


def _gaze(path: Path, reading: Row) -> Gaze:
    """Returns the fixations of one reading that fall on the image."""
    width, height = (reading.least(f"image_size_{axis}", 1) for axis in "xy")
    placed = (
        _fixation(row, width, height)
        for row in rows(path, (*TIMES, *PLACE, *DEGREES, *SHOWN))
        if all(row[column] for column in PLACE)
    )
    inside = [(x, y, *rest) for x, y, *rest in placed if 0.0 <= x <= 1.0 and 0.0 <= y <= 1.0]
    try:
        return Gaze(*zip(*inside, strict=True))
    except ValueError as error:
        raise DataError(f"{path}: {error}; download the file again") from None


def _fixation(row: Row, width: float, height: float) -> Fixation:
    start, end = (row.least(time, 0) for time in TIMES)
    x, y = (row.least(axis, -math.inf) for axis in PLACE)
    degree_x, degree_y = (row.least(column, 0) for column in DEGREES)
    left, top, right, bottom = (row.least(edge, -math.inf) for edge in SHOWN)
    return (
        x / width,
        y / height,
        1000 * (end - start),
        (degree_x / width, degree_y / height),
        (
            max(left, 0) / width,
            max(top, 0) / height,
            min(right / width, 1),
            min(bottom / height, 1),
        ),
    )
