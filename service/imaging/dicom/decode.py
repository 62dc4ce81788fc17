"""Decodes a DICOM file into a Radiograph: header → stored words → display values → square pixels.

Each step compares what the header claims with the pixels, then corrects it or refuses the file;
the table in docs/dicom.md lists the rules.

pydicom quotes header values in its errors, and those may name a patient. So an error of pydicom
leaves this module only as the name of its type (see also `service.imaging.libraries`).
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy.typing as npt
from pydicom.dataset import Dataset

from service.bundle.preprocess import Whole
from service.errors import EclipError, ImageUndecodable
from service.imaging import aspect
from service.imaging.deidentify import allowed_tags
from service.imaging.dicom import reduction
from service.imaging.dicom.attributes import complete, is_colour, rows_and_columns
from service.imaging.dicom.bits import Bits
from service.imaging.dicom.blocks import MOST
from service.imaging.dicom.deflated import HEAD, Inflation, deflated_from, inflated_size
from service.imaging.dicom.elements import count
from service.imaging.dicom.grayscale import Display, display
from service.imaging.dicom.header import CheckShape, check_header, read_dataset, too_large
from service.imaging.dicom.orientation import directions, orientation_doubts
from service.imaging.dicom.pixels import StoredWords, allocated_bits, stored_words
from service.imaging.dicom.processing import doubts
from service.imaging.dicom.region import names_chest
from service.imaging.dicom.spacing import pixel_ratio, scale, spacing
from service.imaging.dicom.syntaxes import is_decoded_apart, is_native
from service.imaging.dicom.view import laterality, view
from service.imaging.footprint import dicom_bytes
from service.imaging.radiograph import Radiograph
from service.memory import Reserve

Factor = Callable[[int, int], float]
"""Returns by how much each side of an image with these rows and columns may be smaller."""


def decode_dicom(
    data: bytes,
    check_shape: CheckShape,
    reserve: Reserve,
    factor: Factor,
    *,
    windowed: bool = True,
) -> Radiograph:
    """Decodes a single-frame projection radiograph to uint16[rows, columns].

    check_shape: called with the image's rows and columns before any pixel is decompressed; reserve:
    then, with the most bytes of memory that it can take. factor: returns by how much each side of
    an image with these rows and columns may be smaller. windowed: see `service.imaging.decode`.

    Raises ImageUnsupported, ImageUndecodable, ImageNotARadiograph, MemoryError, or what these two
    raise.
    """
    try:
        start = deflated_from(data)
        deflated = None if start is None else Inflation(data, start)
        beginning = data if deflated is None else deflated.up_to(HEAD)
        dataset, _ = read_dataset(beginning)
        if deflated and "PixelData" not in dataset and len(beginning) > HEAD:
            raise too_large()
        rows, columns = check_header(dataset, check_shape)
        size = inflated_size(dataset) if deflated else 0
        reserve(_footprint(dataset, rows * columns, len(data), size))
        if deflated:
            dataset, _ = read_dataset(deflated.up_to(size))
        stretched = rows * columns / math.prod(rows_and_columns(dataset))
        most = int(factor(rows, columns) / stretched)
        return _radiograph(dataset, min(max(most, 1), MOST), windowed=windowed)
    except (EclipError, MemoryError):
        raise
    except Exception as error:  # a damaged header makes pydicom raise anything
        reason = type(error).__name__
    raise ImageUndecodable(  # outside the handler: else pydicom's error would be its context
        f"The DICOM is damaged or truncated ({reason}). Export it again, uncompressed if possible."
    )


def _footprint(dataset: Dataset, pixels: int, file_bytes: int, inflated_bytes: int) -> int:
    return dicom_bytes(
        pixels,
        math.prod(rows_and_columns(dataset)),
        file_bytes,
        samples=count(dataset, "SamplesPerPixel") or 1,
        bits=allocated_bits(dataset),
        compressed=not is_native(dataset),
        apart=is_decoded_apart(dataset),
        inflated_bytes=inflated_bytes,
    )


def _radiograph(dataset: Dataset, factor: int, *, windowed: bool) -> Radiograph:
    completed = complete(dataset, native=is_native(dataset))
    stored, shown, blocks = _display(dataset, factor, windowed=windowed)
    ratio, distance, measure = pixel_ratio(dataset), spacing(dataset), scale(dataset)
    shape = int(dataset.Rows), int(dataset.Columns)
    rows, columns = aspect.square_shape(*shape, ratio)
    said = [*completed, *stored.said, *shown.corrections]
    if ratio != 1:
        said.append(aspect.correction(ratio))
        distance = distance and (min(distance), min(distance))
        measure = measure and replace(measure, spacing_mm=(min(measure.spacing_mm),) * 2)
    tags = allowed_tags(dataset)
    spans = reduction.spans(shown.pixels.shape, shape, dataset, stored.shrunk, blocks)
    return Radiograph(
        pixels=aspect.squared(shown.pixels, ratio),
        whole=None if factor == 1 else Whole(rows, columns, spans),
        rows=rows,
        columns=columns,
        format="dicom",
        window=shown.window,
        inverted=shown.inverted,
        view=view(dataset),
        names_chest=names_chest(dataset),
        spacing_mm=distance,
        scale=measure,
        laterality=laterality(dataset),
        directions=directions(dataset),
        padded=shown.padded,
        extent=shown.extent,
        corrections=tuple(said),
        provenance=tags,
        doubts=(*doubts(dataset), *orientation_doubts(dataset)),
    )


def _display(dataset: Dataset, factor: int, *, windowed: bool) -> tuple[StoredWords, Display, int]:
    """Decodes the words, smaller if the codec can and they suffice; and what they show.

    Also returns the sides of the blocks of words of which that is the mean.
    """
    if factor > 1 and reduction.may_suffice(dataset):
        stored = stored_words(dataset, factor)
        blocks = factor // stored.shrunk
        shown = _shown(dataset, stored.words, blocks, smaller=stored.shrunk > 1)
        if shown.certain:
            return stored, shown, blocks
    stored = stored_words(dataset)
    return stored, _shown(dataset, stored.words, factor, windowed=windowed), factor


def _shown(
    dataset: Dataset,
    words: npt.NDArray[Any],
    blocks: int,
    *,
    smaller: bool = False,
    windowed: bool = True,
) -> Display:
    if is_colour(dataset):  # whose luma is what is shown: windows and LUTs are for monochrome
        bits = Bits(0, 8 * words.itemsize, signed=False)
        return display(words, bits, Dataset(), blocks, windowed=windowed)
    stored = int(dataset.BitsStored)
    shift = int(dataset.HighBit) + 1 - stored
    bits = Bits(shift, stored, bool(dataset.PixelRepresentation))
    return display(words, bits, dataset, blocks, smaller=smaller, windowed=windowed)
