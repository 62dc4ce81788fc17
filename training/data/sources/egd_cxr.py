"""Reads EGD-CXR, a radiologist's gaze (Karargyris et al. 2021).

doi 10.1038/s41597-021-00863-5. Download fixations.csv and master_sheet.csv of PhysioNet's egd-cxr
1.0.0, and next to them the folder files/ of MIMIC-CXR 2.0.0: its reports, and its images as DICOM
or from MIMIC-CXR-JPG.

Columns used. master_sheet.csv, one row an image: dicom_id; path, MIMIC-CXR's; patient_id;
image_{left,right,top,bottom}_pad, the black margins in pixels. fixations.csv, one row a fixation:
DICOM_ID; FPOGX and FPOGY, fractions of the screen; FPOGD, seconds; FPOGV, 1 if the fixation is
valid.

Which screen? The publishers pad each image to 1920 × 1024 pixels (image_preparation.py), so that
its height and margins add up to 1024. They map gaze as if these were 1080
(map_eye_gaze_from_screen_to_image_coordinates.py). We do as they map, because then our fixations
are their X_ORIGINAL and Y_ORIGINAL. How the viewer showed the canvas on its screen of 1080 rows is
not published. If it put 28 black rows above and below, a fixation at the upper or lower edge is
shifted by 28 / 1080 = 2.6 % of the screen's height, and one in the middle by nothing.

After every twentieth image came a calibration slide, a white disc. Its DICOM_ID is that of the
image without the last five characters (image_preparation.py), or ends with `_calibration`. Gaze on
slides is left out.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from training.data.sources.mimic_files import image_under, report_under
from training.data.sources.table import Row, rows
from training.data.study import DataError, Gaze, ManifestStudy

SOURCE = "egd_cxr"
PADS = tuple(f"image_{side}_pad" for side in ("left", "right", "top", "bottom"))
SHEET_COLUMNS = ("dicom_id", "path", "patient_id", *PADS)
FIXATION_COLUMNS = ("DICOM_ID", "FPOGX", "FPOGY", "FPOGD", "FPOGV")
_SCREEN = (1920, 1080)
_CUT_FROM_SLIDES = 5
_SLIDE_ENDING = "_calibration"
_LOG = logging.getLogger(__name__)

Fixation = tuple[float, float, float]
"""x and y as fractions of the screen, and milliseconds."""


def studies(root: Path) -> Iterator[ManifestStudy]:
    """Yields one study for each image that was downloaded; `study_id` is its dicom_id.

    Image paths are relative to `root`. Fixations outside of the image, or without a place, are left
    out. Fixations on an image that master_sheet.csv lacks are left out too, with a warning that
    counts them. Raises DataError if fixations.csv names no image of master_sheet.csv.
    """
    sheet = {
        row.required("dicom_id"): row for row in rows(root / "master_sheet.csv", SHEET_COLUMNS)
    }
    fixations = _fixations(root / "fixations.csv", sheet)
    for dicom_id, row in sheet.items():
        path = row.required("path")
        image = image_under(root, path)
        if image:
            yield ManifestStudy(
                study_id=dicom_id,
                patient_id=row.identifier("patient_id"),
                source=SOURCE,
                images=(image,),
                report=report_under(root, path),
                gaze=_gaze(fixations.get(dicom_id, []), row),
            )


def _fixations(path: Path, images: Collection[str]) -> Mapping[str, list[Fixation]]:
    """Returns the valid fixations on each image, in their order."""
    fixations: dict[str, list[Fixation]] = defaultdict(list)
    for row in rows(path, FIXATION_COLUMNS):
        x, y = row.figure("FPOGX"), row.figure("FPOGY")
        if row.figure("FPOGV") and x is not None and y is not None:
            fixations[row["DICOM_ID"]].append((x, y, 1000 * row.least("FPOGD", 0)))
    if fixations and fixations.keys().isdisjoint(images):
        raise DataError(
            f"{path.name} names no image of master_sheet.csv; download both files again"
        )
    slides = {dicom_id[:-_CUT_FROM_SLIDES] for dicom_id in images}
    unknown = {
        each for each in fixations.keys() - images - slides if not each.endswith(_SLIDE_ENDING)
    }
    if unknown:
        count = sum(len(fixations[dicom_id]) for dicom_id in unknown)
        _LOG.warning(
            "%s: left out %d fixations on %d images that are neither in master_sheet.csv nor "
            "calibration slides, for example %r",
            path.name,
            count,
            len(unknown),
            min(unknown),
        )
    return {dicom_id: fixations[dicom_id] for dicom_id in fixations.keys() & images}


def _gaze(fixations: list[Fixation], row: Row) -> tuple[Gaze, ...]:
    """Returns the fixations that fall on the image as a reading; () if there are none."""
    left, right, top, bottom = (row.least(pad, 0) for pad in PADS)
    width, height = _SCREEN[0] - left - right, _SCREEN[1] - top - bottom
    if width <= 0 or height <= 0:
        raise row.fault(PADS[0], "the margins leave nothing of the screen")
    on_image = [
        ((x * _SCREEN[0] - left) / width, (y * _SCREEN[1] - top) / height, duration)
        for x, y, duration in fixations
    ]
    inside = [each for each in on_image if 0.0 <= each[0] <= 1.0 and 0.0 <= each[1] <= 1.0]
    return (Gaze(*zip(*inside, strict=True)),) if inside else ()
