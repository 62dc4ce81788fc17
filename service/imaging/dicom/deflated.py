"""Inflates DICOM files whose elements are deflated (PS3.5 A.5), and never more than is asked for.

A few bytes can inflate to a thousand times as many. So the beginning is inflated first; once its
header says how many bytes the pixels have, these are reserved and inflated, and no others.
"""

import io
import math
import zlib

from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from service.errors import ImageUndecodable
from service.imaging.dicom.attributes import rows_and_columns
from service.imaging.dicom.elements import count
from service.imaging.dicom.header import BoundedFile, IsDeflated

HEAD = 2**23
"""Bytes of the elements that are inflated to find the header."""
_META = 2**16
"""Bytes in which the transfer syntax of a file lies."""
_PIECE, _CHUNK = 2**16, 2**20
"""Bytes that are taken from the deflated elements, and that are inflated, at a time."""
_DEFLATED = DeflatedExplicitVRLittleEndian.encode()
_PLAIN = ExplicitVRLittleEndian.encode().ljust(len(_DEFLATED), b"\0")
"""The transfer syntax of the inflated file, as long as the other one (PS3.5 9.4)."""


def inflated(data: bytes, most: int = HEAD, *, cut: bool = False) -> bytes:
    """Returns the file with its elements inflated, at most so many bytes of them.

    A file that is not deflated is returned as it is: the same object. Bytes behind the deflated
    elements are left out. cut: whether `data` may be only the beginning of the file.

    Raises ImageUndecodable for damaged elements, and for truncated ones unless `cut`.
    """
    start = deflated_from(data)
    return data if start is None else Inflation(data, start).up_to(most, cut=cut)


class Inflation:
    """Inflates the elements of a file as far as they are asked for, and goes on from there.

    start: where the deflated elements begin.
    """

    def __init__(self, data: bytes, start: int) -> None:
        self._deflated, self._at = memoryview(data), start
        self._file, self._start = io.BytesIO(), start
        self._file.write(data[:start].replace(_DEFLATED, _PLAIN))
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def up_to(self, most: int, *, cut: bool = False) -> bytes:
        """Returns the file up to so many bytes of its elements; see `inflated`."""
        try:
            complete = self._inflate(self._start + most)
        except zlib.error:
            complete, cut = False, False
        if complete or cut:
            return self._file.getvalue()
        raise ImageUndecodable(
            "The DICOM's deflated elements are damaged or truncated. Export it uncompressed."
        )

    def _inflate(self, end: int) -> bool:
        """Writes what is inflated to the file, up to `end`. Returns whether nothing is missing."""
        while not self._stream.eof:
            room = min(_CHUNK, end - self._file.tell())
            if room <= 0:
                return True
            piece = self._stream.unconsumed_tail or self._next_piece()
            written = self._file.write(self._stream.decompress(piece, room))
            if not piece and not written:
                return self._stream.eof
        return True

    def _next_piece(self) -> bytes:
        piece = bytes(self._deflated[self._at : self._at + _PIECE])
        self._at += len(piece)
        return piece


def inflated_size(dataset: Dataset) -> int:
    """Returns how many bytes of a file's elements to inflate: its header and one frame.

    dataset: the header, with Rows and Columns.
    """
    samples = math.prod(rows_and_columns(dataset)) * (count(dataset, "SamplesPerPixel") or 1)
    wide = (count(dataset, "BitsAllocated") or 0) > 16
    return HEAD + samples * (4 if wide else 2)


def deflated_from(data: bytes) -> int | None:
    """Returns where the deflated elements begin; None if the file is not deflated."""
    if _DEFLATED not in data[:_META]:
        return None
    file = BoundedFile(data)
    try:
        read_partial(file, lambda *_: True, specific_tags=[], force=True)
    except IsDeflated:
        return file.tell()
    return None
