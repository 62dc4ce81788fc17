"""Decodes a DICOM file into a Radiograph: header → stored values → display values.

pydicom quotes header values in its errors, and those may name a patient. So an error of pydicom
leaves this module only as the name of its type (see also `service.imaging.libraries`).
"""

from pydicom.dataset import Dataset

from service.errors import EclipError, ImageUndecodable
from service.imaging.deidentify import allowed_tags
from service.imaging.dicom.elements import numbers
from service.imaging.dicom.grayscale import display
from service.imaging.dicom.header import CheckShape, check_header, read_dataset
from service.imaging.dicom.pixels import stored_values
from service.imaging.dicom.view import view
from service.imaging.radiograph import Radiograph


def decode_dicom(data: bytes, check_shape: CheckShape) -> Radiograph:
    """Decodes a single-frame projection radiograph to uint16[rows, columns].

    check_shape: called with the header's rows and columns before any pixel is decompressed.

    Raises ImageUnsupported, ImageUndecodable, ImageNotARadiograph, or what `check_shape` raises.
    """
    try:
        dataset, file = read_dataset(data)
        check_header(dataset, check_shape)
        return _radiograph(dataset, file)
    except EclipError:
        raise
    except Exception as error:  # a damaged header makes pydicom raise anything
        reason = type(error).__name__
    raise ImageUndecodable(  # outside the handler: else pydicom's error would be its context
        f"The DICOM is damaged or truncated ({reason}). Export it again, uncompressed if possible."
    )


def _radiograph(dataset: Dataset, file: bytes) -> Radiograph:
    stored = stored_values(dataset, file)
    shown = display(stored, dataset)
    tags = allowed_tags(dataset)
    rows, columns = stored.shape
    return Radiograph(
        pixels=shown.pixels,
        rows=rows,
        columns=columns,
        format="dicom",
        window=shown.window,
        inverted=shown.inverted,
        view=view(dataset),
        spacing_mm=_spacing(dataset),
        provenance=tags,
    )


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Row and column spacing in mm, on the detector if the file says so (PS3.3 10.7)."""
    for keyword in ("ImagerPixelSpacing", "PixelSpacing"):
        spacing = numbers(dataset, keyword)
        if len(spacing) == 2 and min(spacing) > 0:
            return spacing[0], spacing[1]
    return None
