"""Damaged files of every transfer syntax: each gets an image or a typed error, the next its image.

Seeds decide the damage, and no damaged file is kept: some keep a codec busy until its time is up.
"""

import io
import traceback
import warnings

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames

from service.errors import EclipError, ImageUndecodable
from service.imaging.decode import decode
from service.imaging.radiograph import Radiograph
from tests.service.imaging.dicom.conftest import LIMITS
from tests.support.archive import ENCODERS, SYNTAXES, archived, enclosed
from tests.support.damage import CANARY, IDENTIFYING, cut, flipped, pixels_start
from tests.support.synthetic import radiograph

PIXELS = radiograph(65, 49, 12)
CUTS, FLIPS = 20, 200
MOST_S = 1
"""Seconds that a decoder process gets here."""


def named(value) -> str:
    return getattr(value, "name", "") or str(value)


@pytest.fixture(params=SYNTAXES, ids=named)
def syntax(request) -> uid.UID:
    return request.param


@pytest.fixture
def good(syntax) -> bytes:
    return archived(syntax, PIXELS, **IDENTIFYING)


@pytest.fixture(autouse=True)
def _short_time(monkeypatch):
    monkeypatch.setattr("service.imaging.decoder_processes.MOST_S", MOST_S)


def answer(data: bytes) -> Radiograph | EclipError:
    """The image or the typed error; fails where an error, log or warning tells a header's value."""
    with warnings.catch_warnings(record=True) as warned:
        try:
            answered = decode(data, LIMITS)
        except EclipError as error:
            text = "".join(traceback.format_exception(error)) + error.detail
            text += str(error.extensions)
            answered = error
        else:
            text = f"{answered.corrections} {answered.doubts}"
    text += " ".join(str(each.message) for each in warned)
    assert CANARY not in text
    return answered


def test_a_file_cut_short_is_an_error_and_the_next_is_answered(syntax, good, caplog):
    expected = decode(good, LIMITS).pixels
    for damaged in cut(good, pixels_start(good, syntax), CUTS):
        assert isinstance(answer(damaged), EclipError), f"{len(damaged)} of {len(good)} bytes"
        np.testing.assert_array_equal(decode(good, LIMITS).pixels, expected)
    assert CANARY not in caplog.text


@pytest.mark.slow
def test_a_file_with_a_flipped_bit_is_answered_and_so_is_the_next(syntax, good, caplog):
    expected = decode(good, LIMITS).pixels
    seed = SYNTAXES.index(syntax)
    for damaged in flipped(good, pixels_start(good, syntax), FLIPS, seed):
        answer(damaged)
        np.testing.assert_array_equal(decode(good, LIMITS).pixels, expected)
    assert CANARY not in caplog.text


JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)


@pytest.mark.parametrize("syntax", [each for each in ENCODERS if each not in JPEG], ids=named)
def test_a_frame_that_lost_its_middle_is_undecodable(syntax, good):
    """JPEG's decoder fills what is missing with gray, and RLE's runs may still fit."""
    dataset = pydicom.dcmread(io.BytesIO(good))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    for start, end in [(0.3, 0.7), (0.6, 0.65), (0.3, 0.95)]:
        lost = frame[: int(len(frame) * start)] + frame[int(len(frame) * end) :]
        data = enclosed(syntax, dataset, encapsulate([lost]))
        assert isinstance(answer(data), ImageUndecodable), f"{start} to {end}"


@pytest.mark.parametrize("syntax", [uid.RLELossless, *ENCODERS], ids=named)
def test_a_frame_cut_short_in_a_whole_file_is_undecodable(syntax, good):
    """As an archive stores what it received of a broken transfer: its items are well formed.

    Two bytes are missing at least. RLE and JPEG XL have no end marker, so the zero that makes an
    item's length even may stand for one.
    """
    dataset = pydicom.dcmread(io.BytesIO(good))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1)).rstrip(b"\0")
    for length in [*(len(frame) * at // CUTS for at in range(1, CUTS)), len(frame) - 2]:
        data = enclosed(syntax, dataset, encapsulate([frame[:length]]))
        assert isinstance(answer(data), ImageUndecodable), f"{length} of {len(frame)} bytes"
