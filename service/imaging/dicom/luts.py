"""Reads the lookup tables of a DICOM dataset (PS3.3 C.11.1.1.1, C.11.2.1.1).

pydicom 3.0's own (`apply_modality_lut`, `apply_voi_lut`) raises TypeError for modality LUTs of 10
to 15 bits, raises for 8-bit entries packed two to a word and for a signed first value that the
header gives as unsigned, and uses 256 entries at most of a VOI LUT of 8 bits.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from service.errors import ImageUndecodable

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lut:
    """A lookup table. `first` is the input value of its first entry, `bits` the depth of all."""

    table: Values
    first: int
    bits: int

    def __call__(self, values: npt.NDArray[Any]) -> Values:
        """Returns the entry of each value; values outside get the first or the last entry."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.table) - 1)
        entries: Values = self.table[index.astype(np.intp)]
        return entries

    @property
    def last(self) -> int:
        """The input value of the last entry."""
        return self.first + len(self.table) - 1


def read_lut(item: Dataset, dataset: Dataset, name: str, *, signed: bool) -> tuple[Lut, list[str]]:
    """Reads a LUT of 8- or 16-bit entries, and says what was read otherwise than it declares.

    name: what the sentences call it. signed: whether its input can be negative. Then its first
    value is signed too, whatever VR the header gives it.

    The entries decide over the descriptor: their largest gives the depth, and where there are more
    than it declares, all are used.

    Raises ImageUndecodable for a descriptor that is not three numbers, and for fewer entries than
    it declares.
    """
    declared, first, bits = _descriptor(item, name)
    first -= 2**16 if signed and first >= 2**15 else 0
    table = _entries(_words(item.LUTData, dataset), declared or 2**16, bits)
    if len(table) < max(declared, 1):
        raise ImageUndecodable(
            f"The DICOM's {name} has fewer entries in LUTData than its LUTDescriptor says. "
            "Export it again."
        )
    said = []
    if len(table) != (declared or 2**16):
        said.append(
            f"All {len(table)} entries of the {name} were used; its descriptor says {declared}."
        )
    return Lut(table.astype(np.float64), first, int(table.max()).bit_length() or bits), said


def declared_bits(item: Dataset, name: str) -> int:
    """Returns the depth that a LUT's descriptor declares."""
    return _descriptor(item, name)[2]


def _descriptor(item: Dataset, name: str) -> tuple[int, int, int]:
    """Number of entries (0 for 65,536), first input value as unsigned, depth."""
    try:
        parts = [int(value) for value in item.LUTDescriptor]
    except (AttributeError, TypeError, ValueError):
        parts = []
    if len(parts) != 3:  # raised outside the handler: pydicom's error may quote the header
        raise ImageUndecodable(
            f"The DICOM's {name} has no LUTDescriptor of three numbers. Export it again."
        )
    return parts[0] % 2**16, parts[1] % 2**16, parts[2]


def _words(data: Any, dataset: Dataset) -> npt.NDArray[np.uint16]:
    """LUTData as words of 16 bits; a byte that is left over is dropped."""
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data)).astype(np.int64).astype(np.uint16)
    _, little = dataset.original_encoding
    whole = len(data) // 2 * 2
    return np.frombuffer(data[:whole], "<u2" if little else ">u2").astype(np.uint16)


def _entries(words: npt.NDArray[np.uint16], declared: int, bits: int) -> npt.NDArray[Any]:
    """The entries in those words: one a word, or two of 8 bits, the first in the low byte.

    Zeros after the declared entries are padding.
    """
    half = (declared + 1) // 2
    if len(words) < declared and (len(words) == half or (bits <= 8 and len(words) > half)):
        return words.astype("<u2").view(np.uint8)[:declared]
    return words if words[declared:].any() else words[:declared]
