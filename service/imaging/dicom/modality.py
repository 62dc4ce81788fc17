"""Turns stored values into modality values: modality LUT, or rescale, or nothing (PS3.3 C.11.1)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from service.errors import ImageUndecodable
from service.imaging.dicom.bits import Bits
from service.imaging.dicom.elements import is_given, one_number
from service.imaging.dicom.luts import Lut, Values, read_lut

_NAME = "modality LUT"


@dataclass(frozen=True, slots=True)
class Modality:
    """A modality LUT, or else a rescale.

    may_be_negative: whether any stored value could give a value below 0 (PS3.3 C.11.2.1.1).
    """

    lut: Lut | None
    slope: float
    intercept: float
    may_be_negative: bool

    @property
    def changes(self) -> bool:
        """Whether modality values differ from stored values."""
        return self.lut is not None or (self.slope, self.intercept) != (1, 0)

    def __call__(self, stored: npt.NDArray[np.int64]) -> Values:
        """Returns the modality values of stored values."""
        if self.lut is not None:
            return self.lut(stored)
        return stored.astype(np.float64) * self.slope + self.intercept


def read_modality(
    dataset: Dataset, bits: Bits, stored: npt.NDArray[np.int64]
) -> tuple[Modality, list[str]]:
    """Reads the modality LUT or rescale, and says what was read otherwise than the header says.

    stored: the values that occur in the image.

    Raises ImageUndecodable for a rescale that is not finite, for a LUT that cannot be read and for
    one that gives all values of the image the same entry.
    """
    item = next(
        (each for each in dataset.get("ModalityLUTSequence") or [] if is_given(each, "LUTData")),
        None,
    )
    if item is not None:
        for signed in (bits.signed, not bits.signed):  # writers confuse the first value's sign
            lut, said = read_lut(item, dataset, _NAME, signed=signed)
            if np.ptp(lut(stored)) > 0:
                return Modality(lut, 1, 0, may_be_negative=False), said
        raise ImageUndecodable(
            f"The DICOM's {_NAME} gives all its pixels the same value. Correct its LUTDescriptor "
            "or leave the LUT out."
        )
    slope, intercept, said = _rescale(dataset)
    low = -(2 ** (bits.stored - 1)) if bits.signed else 0
    ends = [end * slope + intercept for end in (low, low + 2**bits.stored - 1)]
    return Modality(None, slope, intercept, may_be_negative=min(ends) < 0), said


def _rescale(dataset: Dataset) -> tuple[float, float, list[str]]:
    """Slope and intercept. Where one is missing it changes nothing; a slope of 0 cannot be."""
    slope, intercept = one_number(dataset, "RescaleSlope"), one_number(dataset, "RescaleIntercept")
    if slope == 0:
        return 1, 0, ["The rescale was left out: its RescaleSlope is 0."]
    if slope is None and intercept is None:
        return 1, 0, []
    if slope is None:
        return 1, intercept or 0, ["RescaleSlope was taken as 1: the header has none."]
    if intercept is None:
        return slope, 0, ["RescaleIntercept was taken as 0: the header has none."]
    return slope, intercept, []
