"""Decompresses the pixels of a DICOM dataset into the words that are stored (PS3.5 8.2, A.4)."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, JPEGBaseline8Bit, JPEGExtended12Bit

from service.errors import ImageUndecodable, ImageUnsupported
from service.imaging import decoder_processes
from service.imaging.dicom.attributes import is_colour
from service.imaging.dicom.elements import count
from service.imaging.dicom.frame_header import FrameHeader
from service.imaging.dicom.frames import check_frame, first_frame, read_header
from service.imaging.dicom.syntaxes import codec, is_decoded_apart, transfer_syntax

_YBR = frozenset({"YBR_FULL", "YBR_FULL_422"})
_PILLOW = (JPEGBaseline8Bit, JPEGExtended12Bit)

Words = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class StoredWords:
    """The first frame's words as they are stored.

    words: unsigned[rows, columns], colour as its luma. A word has all the bits that are allocated,
    whichever of them the header says are stored. It may be read-only. shrunk: by how much each
    side is smaller than the header's. said: what to say of a header that contradicts the pixels.
    """

    words: Words
    shrunk: int = 1
    said: list[str] = field(default_factory=list)


def stored_words(dataset: Dataset, most: int = 1) -> StoredWords:
    """Returns the first frame's words.

    dataset: with the attributes that `attributes.complete` fills in. most: by how much each side
    may be smaller. It is a power of two up to that, where the codec can leave out the rest and the
    frame's values are just those of the header; sides are rounded up.

    Raises ImageUnsupported for a transfer syntax that no codec reads and for colour of more than
    8 bits, ImageUndecodable for a frame that is damaged or not of the size in the header,
    MemoryError, and anything at all for damage to what surrounds the frame.
    """
    name = codec(dataset)
    if name == "native":
        return _native(dataset)
    frame = first_frame(dataset)
    header = read_header(name, dataset, frame)
    check_frame(header, frame, dataset)
    said = _allocate(dataset, header.depth)
    if _needs_pydicom(dataset, header):
        return StoredWords(_luma(_by_pydicom(dataset, "pillow")), said=said)
    level = _level(dataset, header, most)
    values = _decoded(dataset, header, frame, level)
    if header.samples > 1:
        values = _luma(_as_rgb(dataset, header, values))
    return StoredWords(_unsigned(values), 2**level, said)


def allocated_bits(dataset: Dataset) -> int:
    """Returns the bits of a word: BitsAllocated, or those of a compressed frame that needs more."""
    allocated = count(dataset, "BitsAllocated") or 1
    name = codec(dataset)
    if name in {"native", "rle"}:
        return allocated
    return max(allocated, read_header(name, dataset, first_frame(dataset)).depth)


def _native(dataset: Dataset) -> StoredWords:
    if is_colour(dataset):
        values, said = _native_colour(dataset)
        return StoredWords(_luma(values), said=said)
    big = transfer_syntax(dataset) == ExplicitVRBigEndian
    if big and dataset.BitsAllocated == 8:  # words of 16 bits may hold them in the other order
        return StoredWords(_unsigned(_by_pydicom(dataset, "")))
    size = int(dataset.BitsAllocated) // 8
    pixels = int(dataset.Rows) * int(dataset.Columns)
    words = np.frombuffer(dataset.PixelData, f"{'>' if big else '<'}u{size}", pixels)
    words = words.astype(f"=u{size}", copy=False)
    return StoredWords(words.reshape(int(dataset.Rows), int(dataset.Columns)))


def _by_pydicom(dataset: Dataset, plugin: str) -> Words:
    """With an index, pydicom ignores frames that the header does not count."""
    return pixel_array(
        dataset, index=0, decoding_plugin=plugin, correct_unused_bits=False, view_only=True
    )


def _native_colour(dataset: Dataset) -> tuple[Words, list[str]]:
    """Reads colour by plane or by pixel, as the header says unless only the other way is gray."""
    values = _by_pydicom(dataset, "")
    if _is_gray(values):
        return values, []
    dataset.PlanarConfiguration = 1 - dataset.PlanarConfiguration
    other = _by_pydicom(dataset, "")
    if not _is_gray(other):
        return values, []
    said = f"PlanarConfiguration was taken as {dataset.PlanarConfiguration}: so the image is gray."
    return other, [said]


def _is_gray(values: Words) -> bool:
    return bool((values == values[..., :1]).all())


def _luma(values: Words) -> Words:
    """Gray of colour values [rows, columns, 3]; those of more than 8 bits must be gray already."""
    if _is_gray(values):
        return np.ascontiguousarray(values[..., 0])
    if values.dtype != np.uint8:
        raise ImageUnsupported("The DICOM is in colour. Send a monochrome radiograph.")
    return np.asarray(Image.fromarray(values).convert("L"))


def _allocate(dataset: Dataset, depth: int) -> list[str]:
    """Corrects a header that allocates fewer bits than a frame's values need."""
    if depth <= dataset.BitsAllocated:
        return []
    dataset.BitsAllocated = 16 if depth <= 16 else 32
    return [f"BitsAllocated was taken as {dataset.BitsAllocated}: the compressed frame needs it."]


def _needs_pydicom(dataset: Dataset, header: FrameHeader) -> bool:
    """Whether pydicom must find out in which colours a JPEG of 8 bits is."""
    in_colour = header.samples > 1 and header.rgb and header.depth == 8
    return in_colour and transfer_syntax(dataset) in _PILLOW


def _level(dataset: Dataset, header: FrameHeader, most: int) -> int:
    """How often the sides are halved: only where a frame's values are those of the header."""
    stored = int(dataset.BitsStored)
    claimed = stored, int(dataset.HighBit), bool(dataset.PixelRepresentation)
    if header.samples > 1 or claimed != (header.depth, header.depth - 1, header.signed):
        return 0
    return min(header.levels, most.bit_length() - 1)


def _decoded(dataset: Dataset, header: FrameHeader, frame: bytes, level: int) -> Words:
    from service.imaging.dicom import codecs  # with imagecodecs, which only some files need

    decode = decoder_processes.decode if is_decoded_apart(dataset) else codecs.decode
    try:
        values = decode(header, frame, level)
    except codecs.FrameDamaged as error:
        reason = str(error)
    else:
        return _allocated(dataset, header, values)
    raise ImageUndecodable(  # outside the handler: else the codec's error would be its context
        f"The DICOM's compressed frame is damaged or truncated ({reason}). Export it again, "
        "uncompressed if possible."
    )


def _allocated(dataset: Dataset, header: FrameHeader, values: Words) -> Words:
    """Gives words the bits that are allocated, and the sign that the header says.

    JPEG-LS knows no sign, and JPEG 2000 may be coded with another one. Then the highest bit of a
    sample is the sign, as pydicom has it.
    """
    kind = "ui"[bool(dataset.PixelRepresentation)]
    words = values.view(f"{kind}{values.itemsize}")
    words = words.astype(f"{kind}{int(dataset.BitsAllocated) // 8}", copy=False)
    spare = 8 * words.itemsize - header.depth
    if spare and header.codec != "jpeg" and header.signed != bool(dataset.PixelRepresentation):
        words <<= spare
        words >>= spare
    return words


def _as_rgb(dataset: Dataset, header: FrameHeader, values: Words) -> Words:
    if header.rgb or dataset.PhotometricInterpretation not in _YBR:
        return values
    rgb: Words = convert_color_space(values, "YBR_FULL", "RGB")
    return rgb


def _unsigned(values: Words) -> Words:
    return values.view(values.dtype.str.replace("i", "u"))
