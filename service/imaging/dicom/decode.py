"""Decodes a DICOM file into a Radiograph: header → stored words → display values → square pixels.

Each step compares what the header claims with the pixels, then corrects it or refuses the file;
the table in docs/dicom.md lists the rules.

pydicom quotes header values in its errors, and those may name a patient. So an error of pydicom
leaves this module only as the name of its type (see also `service.imaging.libraries`).
"""

import math

from pydicom.dataset import Dataset

from service.errors import EclipError, ImageUndecodable
from service.imaging import aspect
from service.imaging.deidentify import allowed_tags
from service.imaging.dicom.attributes import complete, is_colour, rows_and_columns
from service.imaging.dicom.bits import Bits
from service.imaging.dicom.elements import count
from service.imaging.dicom.grayscale import display
from service.imaging.dicom.header import CheckShape, check_header, read_dataset
from service.imaging.dicom.pixels import allocated_bits, stored_words
from service.imaging.dicom.region import names_chest
from service.imaging.dicom.spacing import pixel_ratio, spacing
from service.imaging.dicom.syntaxes import is_decoded_apart, is_native
from service.imaging.dicom.view import view
from service.imaging.footprint import dicom_bytes
from service.imaging.radiograph import Radiograph
from service.memory import Reserve


def decode_dicom(data: bytes, check_shape: CheckShape, reserve: Reserve) -> Radiograph:
    """Decodes a single-frame projection radiograph to uint16[rows, columns].

    check_shape: called with the image's rows and columns before any pixel is decompressed; reserve:
    then, with the most bytes of memory that it can take.

    Raises ImageUnsupported, ImageUndecodable, ImageNotARadiograph, MemoryError, or what these two
    raise.
    """
    try:
        dataset, _ = read_dataset(data)
        rows, columns = check_header(dataset, check_shape)
        reserve(_footprint(dataset, rows * columns, len(data)))
        return _radiograph(dataset)
    except (EclipError, MemoryError):
        raise
    except Exception as error:  # a damaged header makes pydicom raise anything
        reason = type(error).__name__
    raise ImageUndecodable(  # outside the handler: else pydicom's error would be its context
        f"The DICOM is damaged or truncated ({reason}). Export it again, uncompressed if possible."
    )


def _footprint(dataset: Dataset, pixels: int, file_bytes: int) -> int:
    return dicom_bytes(
        pixels,
        math.prod(rows_and_columns(dataset)),
        file_bytes,
        samples=count(dataset, "SamplesPerPixel") or 1,
        bits=allocated_bits(dataset),
        compressed=not is_native(dataset),
        apart=is_decoded_apart(dataset),
    )


def _radiograph(dataset: Dataset) -> Radiograph:
    completed = complete(dataset, native=is_native(dataset))
    stored_pixels = stored_words(dataset)
    words = stored_pixels.words
    if is_colour(dataset):  # whose luma is what is shown: windows and LUTs are for monochrome
        bits, grays = Bits(0, 8 * words.itemsize, signed=False), Dataset()
    else:
        stored = int(dataset.BitsStored)
        shift = int(dataset.HighBit) + 1 - stored
        bits, grays = Bits(shift, stored, bool(dataset.PixelRepresentation)), dataset
    shown = display(words, bits, grays)
    ratio, distance = pixel_ratio(dataset), spacing(dataset)
    rows, columns = aspect.square_shape(words.shape[0], words.shape[1], ratio)
    said = [*completed, *stored_pixels.said, *shown.corrections]
    if ratio != 1:
        said.append(aspect.correction(ratio))
        distance = distance and (min(distance), min(distance))
    tags = allowed_tags(dataset)
    return Radiograph(
        pixels=aspect.squared(shown.pixels, ratio),
        rows=rows,
        columns=columns,
        format="dicom",
        window=shown.window,
        inverted=shown.inverted,
        view=view(dataset),
        names_chest=names_chest(dataset),
        spacing_mm=distance,
        corrections=tuple(said),
        provenance=tags,
    )
