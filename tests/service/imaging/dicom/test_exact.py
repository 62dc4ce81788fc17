"""Without a reducing gap, a DICOM's pixels never change: each kind has the digest of its own."""

import hashlib

import numpy as np
import pytest

from service.imaging.decode import decode
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.service.imaging.dicom.conftest import LIMITS, lut

ROWS, COLUMNS = 173, 211


def film(top: int, low: int = 0, dtype: type = np.uint16) -> np.ndarray:
    """A grainy image of values from `low` to `low + top`, of whole numbers alone."""
    y, x = np.indices((ROWS, COLUMNS))
    shape = 4 * x * (COLUMNS - x) * ROWS + y * y * COLUMNS + (x * 7919 + y * 104729) % 9973 * 40
    return (low + shape * top // shape.max()).astype(dtype)


def bordered(value: int, top: int = 4000, dtype: type = np.uint16) -> np.ndarray:
    pixels = film(top, 50, dtype)
    pixels[:9] = pixels[:, -13:] = value
    return pixels


WINDOW = {"WindowCenter": 2000, "WindowWidth": 3000}
LEVELS = lut(4096, 0, 16, (np.arange(4096) ** 2 // 256).astype("<u2").tobytes())
TWELVE = {"BitsStored": 12, "HighBit": 11}
CASES = {
    "8 bits": (film(255, dtype=np.uint8), {}),
    "8 bits, window": (film(255, dtype=np.uint8), {"WindowCenter": 100, "WindowWidth": 80}),
    "8 bits, MONOCHROME1": (
        film(200, dtype=np.uint8), {"PhotometricInterpretation": "MONOCHROME1"},
    ),
    "10 bits": (film(1023), {"BitsStored": 10, "HighBit": 9}),
    "12 bits": (film(4095), TWELVE),
    "12 bits, window": (film(4095), TWELVE | WINDOW),
    "12 bits, MONOCHROME1": (
        film(4095), TWELVE | WINDOW | {"PhotometricInterpretation": "MONOCHROME1"},
    ),
    "12 bits, signed": (film(4000, -2000, np.int16), TWELVE | {"RescaleIntercept": 2000} | WINDOW),
    "12 bits at the top": (film(4095) << 4, {"BitsStored": 12, "HighBit": 15} | WINDOW),
    "12 bits, overlay": (
        film(4095) | (film(1) << 15), TWELVE | WINDOW,
    ),
    "12 bits, said to be 10": (film(4095), {"BitsStored": 10, "HighBit": 9}),
    "12 bits, sign forgotten": (
        film(1200, -600, np.int16).view(np.uint16) & 4095, TWELVE,
    ),
    "16 bits": (film(65535), {}),
    "16 bits, signed": (film(60000, -30000, np.int16), {}),
    "32 bits": (film(2**20, dtype=np.uint32), {"WindowCenter": 2**19, "WindowWidth": 2**19}),
    "rescale": (film(4095), TWELVE | WINDOW | {"RescaleSlope": "0.5", "RescaleIntercept": "7"}),
    "modality LUT": (film(4095), TWELVE | WINDOW | {"ModalityLUTSequence": LEVELS}),
    "VOI LUT": (film(4095), TWELVE | {"VOILUTSequence": LEVELS}),
    "padding": (bordered(0), TWELVE | WINDOW | {"PixelPaddingValue": 0}),
    "padding, MONOCHROME1": (
        bordered(0),
        TWELVE | {"PixelPaddingValue": 0, "PhotometricInterpretation": "MONOCHROME1"},
    ),
    "padding, signed": (bordered(-2000, dtype=np.int16), {"PixelPaddingValue": -2000}),
    "window that misses": (film(4095), TWELVE | {"WindowCenter": 9000, "WindowWidth": 10}),
}  # fmt: skip
DIGESTS = {
    "8 bits": "f1128299feb8",
    "8 bits, window": "f04fb9cca957",
    "8 bits, MONOCHROME1": "69e8518c50ee",
    "10 bits": "b6ebb4731956",
    "12 bits": "f897679d4fe4",
    "12 bits, window": "f7edfe10cbbb",
    "12 bits, MONOCHROME1": "6f18e20e3fbe",
    "12 bits, signed": "d11352a60640",
    "12 bits at the top": "f7edfe10cbbb",
    "12 bits, overlay": "f7edfe10cbbb",
    "12 bits, said to be 10": "f897679d4fe4",
    "12 bits, sign forgotten": "fe0a70b6b410",
    "16 bits": "d99fcbcc56f6",
    "16 bits, signed": "89e83c999e33",
    "32 bits": "1591a905189c",
    "rescale": "f833015b9148",
    "modality LUT": "abbbdd1b0160",
    "VOI LUT": "3cb47aef1bad",
    "padding": "977c2e514b68",
    "padding, MONOCHROME1": "b2490bde0b32",
    "padding, signed": "ea36faf0b15d",
    "window that misses": "f897679d4fe4",
}
"""Of the pixels as they were before tables were looked up in parts."""


@pytest.mark.parametrize("case", CASES)
def test_pixels_without_a_gap_stay_what_they_were(case):
    pixels, elements = CASES[case]
    shown = decode(dicom_bytes(dicom_dataset(pixels, **elements)), LIMITS).pixels
    digest = hashlib.blake2s(shown.astype("<u2").tobytes(), digest_size=6)
    assert digest.hexdigest() == DIGESTS[case]
