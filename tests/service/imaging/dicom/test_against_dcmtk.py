"""Compares renditions with those of dcmtk, over generated headers, true ones and wrong ones.

A wrong header is compared with dcmtk's rendition of the header that is right for its pixels.
"""

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset

from service.imaging.decode import decode
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.service.imaging.dicom.conftest import LIMITS, lut

DCMJ2PNM = shutil.which("dcmj2pnm")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(DCMJ2PNM is None, reason="needs dcmtk (dcmj2pnm)"),
]

ROWS, COLUMNS = 64, 48
DEPTHS = [0, 8, 10, 12, 16]


def dcmtk(dataset: Dataset, *options: str) -> np.ndarray:
    """The rendition uint8[rows, columns] of dcmtk, without overlays."""
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "image.dcm"), Path(folder, "image.pgm")
        source.write_bytes(dicom_bytes(dataset))
        subprocess.run([DCMJ2PNM, "-q", "+op", "-O", *options, source, target], check=True)
        return np.asarray(Image.open(target))


def body(low: int, high: int) -> np.ndarray:
    """A smooth chest from `low` to `high`: dark sides, bright middle, slow ripples."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    across, down = (x - COLUMNS / 2) / (COLUMNS / 2), y / ROWS
    shape = np.exp(-((across / 0.5) ** 2)) + 0.3 * down + 0.05 * np.sin(y / 5)
    shape = (shape - shape.min()) / np.ptp(shape)
    return np.rint(low + shape * (high - low)).astype(np.int64)


@dataclass
class Case:
    """The header that is right for the pixels, the one that the file has, and dcmtk's options."""

    right: dict
    claimed: dict
    words: np.ndarray = field(repr=False)
    values: np.ndarray = field(repr=False)
    options: list[str] = field(default_factory=lambda: ["+Wm"])
    padding: np.ndarray | None = field(default=None, repr=False)
    size: tuple[int, int] = COLUMNS, ROWS

    def dataset(self, **claimed: object) -> Dataset:
        header = {**self.right, **claimed}
        dataset = dicom_dataset(
            self.words, **{name: value for name, value in header.items() if value is not None}
        )
        if self.padding is not None:  # unsigned in the file, whatever the pixels are
            dataset.add_new("PixelPaddingValue", "US", int(self.values[0, 0]) % 2**16)
        return dataset


def bits(draw) -> Case:
    """Pixels of some depth and sign, at one end of their words or the other, and what is said."""
    allocated, stored = draw(st.sampled_from([(8, 8), (16, 8), (16, 10), (16, 12), (16, 16)]))
    signed = draw(st.booleans())
    span = 2**stored
    if signed:
        low, high = -span // draw(st.sampled_from([2, 4, 8])), span // 2 - 1
    else:
        low, high = 0, draw(st.sampled_from([span - 1, span * 3 // 4]))
    values = body(low, high)
    words = values & (span - 1)
    spare = allocated - stored
    right = {"BitsAllocated": allocated, "BitsStored": stored, "HighBit": stored - 1}
    right["PixelRepresentation"] = int(signed)
    claimed = {}
    kinds = ["plain", "other sign"]
    if spare:
        kinds += ["high", "high, unsaid", "low, said high", "overlay"]
        kinds += ["extended", "extended, unsigned"] if signed else ["deeper"]
    kind = draw(st.sampled_from(kinds))
    if kind == "other sign":
        claimed["PixelRepresentation"] = 1 - int(signed)
    elif kind.startswith("high"):
        words = words << spare
        right["HighBit"] = allocated - 1
        claimed["HighBit"] = stored - 1 if "unsaid" in kind else allocated - 1
    elif kind == "low, said high":
        claimed["HighBit"] = allocated - 1
    elif kind == "overlay":
        words[10:14, 5:30] |= 2 ** (allocated - 1)
    elif kind.startswith("extended"):
        words = values & (2**allocated - 1)
        claimed["PixelRepresentation"] = int("unsigned" not in kind)
    elif kind == "deeper":
        claimed["BitsStored"], claimed["HighBit"] = stored - 2, stored - 3
    return Case(right, claimed, words.astype(f"<u{allocated // 8}"), values)


def rescale(draw, case: Case) -> np.ndarray:
    """Modality values, by a rescale that may lack the half that changes nothing."""
    slope = draw(st.sampled_from([None, 1, 2, 3, -1]))
    if slope is None:
        return case.values
    intercept = draw(st.sampled_from([0, -1000, 37]))
    case.right |= {"RescaleSlope": slope, "RescaleIntercept": intercept}
    if draw(st.booleans()) and 0 in {slope - 1, intercept}:
        case.claimed["RescaleIntercept" if intercept == 0 else "RescaleSlope"] = None
    return case.values * slope + intercept


def grays(draw, case: Case, values: np.ndarray) -> None:
    """A window or a VOI LUT that shows the values, or none."""
    low, high = int(values.min()), int(values.max())
    kind = draw(st.sampled_from(["none", "window", "misses", "lut"]))
    if kind == "window":
        width = max((high - low) * draw(st.sampled_from([1, 2, 0.6])), 32)
        centre = low + (high - low) * draw(st.sampled_from([0.4, 0.5]))
        case.right |= {"WindowCenter": round(centre), "WindowWidth": round(width)}
        case.right["VOILUTFunction"] = draw(st.sampled_from(["LINEAR", "SIGMOID"]))
        case.options = ["+Wi", "1"]
    elif kind == "misses":
        case.claimed |= draw(
            st.sampled_from(
                [
                    {"WindowCenter": high + 5000, "WindowWidth": 1000},
                    {"WindowCenter": low - 5000, "WindowWidth": 1000},
                    {"WindowCenter": (low + high) / 2, "WindowWidth": (high - low) * 50},
                    {"WindowCenter": (low + high) / 2, "WindowWidth": 0},
                    {"WindowCenter": (low + high) / 2, "WindowWidth": -100},
                ]
            )
        )
    elif kind == "lut" and low >= -(2**15) and high - low < 2**16:
        depth = draw(st.sampled_from(DEPTHS[1:]))
        ramp = np.linspace(0, 1, high - low + 1) ** draw(st.sampled_from([0.7, 1.5]))
        table = np.rint(ramp * (2**depth - 1)).astype("<u2").tobytes()
        for header, said in ((case.right, depth), (case.claimed, draw(st.sampled_from(DEPTHS)))):
            header["VOILUTSequence"] = lut(1, 0, 0, table)
            descriptor = [(high - low + 1) % 2**16, low % 2**16, said or depth]
            header["VOILUTSequence"][0].add_new("LUTDescriptor", "US", descriptor)
        case.options = ["+Wl", "1"]


def polarity(draw, case: Case) -> None:
    case.right["PhotometricInterpretation"] = draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"]))
    case.right["PresentationLUTShape"] = draw(st.sampled_from([None, "IDENTITY", "INVERSE"]))
    if draw(st.booleans()):
        case.claimed["PhotometricInterpretation"] = case.right["PhotometricInterpretation"].lower()


def frame(draw, case: Case) -> None:
    """Padding, which dcmtk shows as any value, and pixels that are not square."""
    if draw(st.booleans()) and case.options != ["+Wm"]:
        case.padding = case.values == case.values[0, 0]
    spacing = draw(st.sampled_from([None, [2, 2], [2, 1], [2, 3], [200, 201]]))
    case.right[draw(st.sampled_from(["ImagerPixelSpacing", "PixelAspectRatio"]))] = spacing
    if spacing and abs(spacing[0] / spacing[1] - 1) > 0.01:
        height, width = np.divide(spacing, min(spacing))
        case.size = round(COLUMNS * width), round(ROWS * height)


@st.composite
def cases(draw) -> Case:
    case = bits(draw)
    grays(draw, case, rescale(draw, case))
    polarity(draw, case)
    frame(draw, case)
    return case


@pytest.mark.filterwarnings("ignore")
@given(cases())
@settings(max_examples=100, derandomize=True, deadline=None)
def test_a_rendition_is_dcmtks_of_the_right_header(case):
    radiograph = decode(dicom_bytes(case.dataset(**case.claimed)), LIMITS)
    expected = dcmtk(case.dataset(), *case.options).copy()
    if case.padding is not None:
        expected[case.padding] = 0
    square = np.asarray(Image.fromarray(expected).resize(case.size, Image.Resampling.BILINEAR))
    difference = np.rint(radiograph.pixels / 257) - square
    tolerance = 1 if case.size == (COLUMNS, ROWS) else 2  # both are rounded before they are resized
    assert np.abs(difference).max() <= tolerance, radiograph.corrections
