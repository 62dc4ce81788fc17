"""Completes and checks the attributes that describe a DICOM file's pixels, before any is decoded.

The attributes are those of type 1 in PS3.3 C.7.6.3. One that is missing gets a default where only
one value makes sense; one that contradicts the length of the pixels is corrected or refused. The
table in docs/dicom.md lists the rules.
"""

from pydicom.dataset import Dataset

from service.errors import ImageUndecodable, ImageUnsupported
from service.imaging.dicom import processing
from service.imaging.dicom.elements import count, is_given, text

_MONOCHROME = {"IDENTITY": "MONOCHROME2", "INVERSE": "MONOCHROME1"}
"""PresentationLUTShape → the PhotometricInterpretation that goes with it (PS3.3 C.8.11.3)."""
_COLOUR = frozenset(
    {
        "RGB",
        "YBR_FULL",
        "YBR_FULL_422",
        "YBR_PARTIAL_420",
        "YBR_PARTIAL_422",
        "YBR_ICT",
        "YBR_RCT",
        "XYB",
    }
)
_DEPTHS = (8, 16, 32)
COMPLETED = (
    "PhotometricInterpretation", "SamplesPerPixel", "PlanarConfiguration", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip
"""Attributes that `complete` may set."""


def rows_and_columns(dataset: Dataset) -> tuple[int, int]:
    """Returns the size that the header declares. Raises ImageUndecodable where it has none."""
    rows, columns = count(dataset, "Rows"), count(dataset, "Columns")
    for name, value in (("Rows", rows), ("Columns", columns)):
        if not value or value < 0:
            raise _missing(name)
    return rows or 0, columns or 0


def complete(dataset: Dataset, *, native: bool) -> list[str]:
    """Fills in the attributes that decoding needs; returns a sentence for each that it changed.

    native: whether the pixels are uncompressed, so that their length tells how deep they are.

    Raises ImageUndecodable or ImageUnsupported, which name the attribute.
    """
    said = [*_photometric(dataset), *_samples(dataset)]
    size = _bytes_a_sample(dataset) if native else None
    said += [*_depths(dataset, size), *_signs(dataset)]
    if native:
        _check_length(dataset)
    return said


def _photometric(dataset: Dataset) -> list[str]:
    """Reads PhotometricInterpretation without regard to case and blanks."""
    value = text(dataset, "PhotometricInterpretation").replace(" ", "")
    if value == "PALETTECOLOR":
        raise ImageUnsupported(
            "The DICOM is in colour (PhotometricInterpretation PALETTE COLOR). "
            "Send a monochrome radiograph."
        )
    said = []
    if value in {"", "MONOCHROME"}:
        value = _MONOCHROME.get(text(dataset, "PresentationLUTShape"), "")
        said = [f"PhotometricInterpretation was taken as {value}, from PresentationLUTShape."]
    if value not in _COLOUR and value not in _MONOCHROME.values():
        raise ImageUndecodable(
            "The DICOM's PhotometricInterpretation is missing or unknown, so it cannot be said "
            "whether low values are dark. Set it to MONOCHROME1 or MONOCHROME2."
        )
    dataset.PhotometricInterpretation = value
    return said + ([] if value in _COLOUR else _bright_bone(dataset))


def _bright_bone(dataset: Dataset) -> list[str]:
    """Lets the physics of raw data decide their polarity: the header's need not be meant for it."""
    value = processing.bright_bone(dataset)
    if value is None:
        return []
    claimed = _MONOCHROME.get(
        text(dataset, "PresentationLUTShape"), dataset.PhotometricInterpretation
    )
    dataset.PhotometricInterpretation = value
    dataset.pop("PresentationLUTShape", None)
    if value == claimed:
        return []
    return [
        f"PhotometricInterpretation was taken as {value}, from PixelIntensityRelationshipSign: the "
        "image is FOR PROCESSING, and bone is shown bright."
    ]


def is_colour(dataset: Dataset) -> bool:
    """Decides whether a pixel has three samples. Call it after `complete`."""
    return dataset.PhotometricInterpretation in _COLOUR


def _samples(dataset: Dataset) -> list[str]:
    wanted = 3 if is_colour(dataset) else 1
    samples = count(dataset, "SamplesPerPixel")
    if samples not in {None, wanted}:
        raise ImageUndecodable(
            "The DICOM's SamplesPerPixel contradicts its PhotometricInterpretation. "
            "Export it again as monochrome."
        )
    said = [] if samples else _default(dataset, "SamplesPerPixel", wanted)
    if wanted == 3 and count(dataset, "PlanarConfiguration") not in {0, 1}:
        said += _default(dataset, "PlanarConfiguration", 0)
    return said


def _bytes_a_sample(dataset: Dataset) -> int:
    """Whole bytes that uncompressed pixels have for each sample of one frame."""
    rows, columns = rows_and_columns(dataset)
    return len(dataset.PixelData or b"") // (rows * columns * int(dataset.SamplesPerPixel))


def _depths(dataset: Dataset, size: int | None) -> list[str]:
    """Completes BitsAllocated, BitsStored and HighBit. size: bytes a sample, if they are known."""
    said = []
    allocated, stored = count(dataset, "BitsAllocated"), count(dataset, "BitsStored")
    too_deep = allocated == 8 and (stored or 0) > 8
    if size in {1, 2, 4} and (allocated is None or (too_deep and size == 2)):
        said += _default(dataset, "BitsAllocated", allocated := 8 * size)
    if allocated not in _DEPTHS:
        if allocated is None:
            raise _missing("BitsAllocated")
        raise ImageUndecodable(
            f"The DICOM's BitsAllocated is {allocated}, but only 8, 16 and 32 can be read. "
            "Export it again."
        )
    high = count(dataset, "HighBit")
    if stored is None or not 0 < stored <= allocated:
        stored = high + 1 if stored is None and high and 0 < high < allocated else allocated
        said += _default(dataset, "BitsStored", stored)
    if high is None:
        said += _default(dataset, "HighBit", stored - 1)
    return said


def _signs(dataset: Dataset) -> list[str]:
    signed = count(dataset, "PixelRepresentation")
    if signed is None:
        return _default(dataset, "PixelRepresentation", 0)
    if signed not in {0, 1}:
        raise ImageUndecodable(
            "The DICOM's PixelRepresentation is neither 0 (unsigned) nor 1 (signed). Correct it."
        )
    return []


def _check_length(dataset: Dataset) -> None:
    """Refuses uncompressed pixels that are not as long as their header says (PS3.5 8.1.1)."""
    rows, columns = rows_and_columns(dataset)
    a_pixel = int(dataset.SamplesPerPixel) * int(dataset.BitsAllocated) // 8
    length, frame = len(dataset.PixelData or b""), rows * columns * a_pixel
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        frame = frame * 2 // 3
    if length < frame:
        raise ImageUndecodable(
            "The DICOM's PixelData is shorter than its Rows, Columns and BitsAllocated need: it is "
            "truncated, or one of them is wrong. Export it again."
        )
    if length - frame >= min(rows, columns) * a_pixel:  # less is padding that writers add
        raise ImageUndecodable(
            "The DICOM's PixelData is longer than its Rows, Columns, BitsAllocated and "
            "NumberOfFrames need, so one of them is wrong. Correct it."
        )


def _default(dataset: Dataset, keyword: str, value: int) -> list[str]:
    """Sets an attribute, and says so."""
    why = "the header's value cannot be" if is_given(dataset, keyword) else "the header has none"
    setattr(dataset, keyword, value)
    return [f"{keyword} was taken as {value}: {why}."]


def _missing(keyword: str) -> ImageUndecodable:
    return ImageUndecodable(f"The DICOM has no {keyword}. Export it again from its source.")
