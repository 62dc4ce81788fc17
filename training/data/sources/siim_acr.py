"""Reads one radiologist's gaze on radiographs of the SIIM-ACR Pneumothorax Segmentation challenge.

Gaze: Saab et al. 2021, doi 10.1007/978-3-030-87196-3_56, in the form `siim_acr_gaze.json`: a list
of objects with image_id, gaze_x, gaze_y and time. Images and labels, each where it was downloaded:
`<image_id>.dcm`, `.png` or `.jpg` in any folder, and `train-rle.csv` or `stage_2_train.csv`. There
are no reports: they are empty.

The radiographs are from NIH ChestX-ray14 under new names (Filice et al. 2020, doi
10.1007/s10278-019-00299-9). An id names one image, not one person, so no split of this set, and
none together with ChestX-ray14, keeps persons apart.

Points are in the order of recording. `time` counts samples of a 60 Hz tracker that the authors
merged because they lay close together (within .05 of the image, they write; within .0125 in this
file). Each becomes 1/60 s. An image has 0.7 s of them (median), less than any reading takes, so
durations are good for comparisons within an image alone.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import (
    BaseModel,
    Field,
    FiniteFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from training.data.sources.headers import NotDicom, view_position
from training.data.sources.table import rows
from training.data.study import DataError, Gaze, ManifestStudy, Skipped

SOURCE = "siim_acr"
GAZE = "siim_acr_gaze.json"
TABLES = ("stage_2_train.csv", "train-rle.csv")
"""Tables of masks; the first that exists is read."""
_ENDINGS = (".dcm", ".png", ".jpg")
_NO_MASK = "-1"
_SAMPLE_MS = 1000.0 / 60.0


class _Reading(BaseModel):
    image_id: str = Field(min_length=1)
    gaze_x: tuple[FiniteFloat, ...]
    gaze_y: tuple[FiniteFloat, ...]
    time: tuple[PositiveInt, ...]

    @model_validator(mode="after")
    def _same_lengths(self) -> Self:
        if not len(self.gaze_x) == len(self.gaze_y) == len(self.time):
            raise ValueError("gaze_x, gaze_y and time must have one value for each fixation")
        return self

    def gaze(self) -> tuple[Gaze, ...]:
        """Returns the fixations that lie on the image as a reading; () if there are none."""
        inside = [
            (x, y, count * _SAMPLE_MS)
            for x, y, count in zip(self.gaze_x, self.gaze_y, self.time, strict=True)
            if 0.0 <= x <= 1.0 and 0.0 <= y <= 1.0
        ]
        return (Gaze(*zip(*inside, strict=True)),) if inside else ()


def studies(root: Path) -> Iterator[ManifestStudy | Skipped]:
    """Yields one study for each image that has gaze, or a label and its file.

    Without its file a study has gaze and no image. `pneumothorax` is labelled where a table of
    masks is there; nobody labelled anything else. Fixations beside the image are left out. Raises
    DataError for a gaze file of another form.
    """
    gaze, labels, images = _gaze(root / GAZE), _labels(root), _images(root)
    for image_id in dict.fromkeys((*gaze, *labels)):
        image = images.get(image_id)
        if image is None and image_id not in gaze:
            yield Skipped("no image file")
            continue
        try:
            view = view_position(root / image) if image and image.endswith(".dcm") else None
        except NotDicom:
            yield Skipped("image is not a DICOM file")
            continue
        yield ManifestStudy(
            study_id=image_id,
            patient_id=image_id,
            source=SOURCE,
            images=(image,) if image else (),
            report="",
            view=view,
            findings=labels.get(image_id),
            gaze=gaze.get(image_id, ()),
        )


def _images(root: Path) -> dict[str, str]:
    """Returns {image: its path}; a DICOM file before a picture. Folders of masks are left out."""
    paths = (
        path.relative_to(root)
        for ending in reversed(_ENDINGS)
        for path in sorted(root.rglob(f"*{ending}"))
    )
    return {
        path.stem: path.as_posix() for path in paths if "mask" not in path.parent.as_posix().lower()
    }


def _gaze(path: Path) -> dict[str, tuple[Gaze, ...]]:
    try:
        readings = TypeAdapter(list[_Reading]).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ", ".join(map(str, first["loc"])) or "the file"
        raise DataError(
            f"{path.name}, {place}: {first['msg']}. Download the published file again"
        ) from None
    gaze = {reading.image_id: reading.gaze() for reading in readings}
    if len(gaze) < len(readings):
        raise DataError(f"{path.name} has an image_id twice; download the published file again")
    return gaze


def _labels(root: Path) -> dict[str, tuple[str, ...]]:
    """Returns {image: findings}; {} without a table of masks. Several masks have a row each."""
    table = next((root / name for name in TABLES if (root / name).is_file()), None)
    labels: dict[str, tuple[str, ...]] = {}
    for row in rows(table, ("ImageId", "EncodedPixels")) if table else ():
        runs = row.required("EncodedPixels")
        if runs != _NO_MASK and not runs.replace(" ", "").isdecimal():
            raise row.fault("EncodedPixels", f"{runs[:20]!r} is neither -1 nor a mask's runs")
        image_id = row.required("ImageId")
        labels[image_id] = ("pneumothorax",) if runs != _NO_MASK else labels.get(image_id, ())
    return labels
