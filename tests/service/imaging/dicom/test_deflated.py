"""Files whose elements are deflated (PS3.5 A.5)."""

import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from service.errors import EclipError, ImageTooLarge, ImageUndecodable, ImageUnsupported
from service.imaging.decode import decode
from service.imaging.dicom.deflated import HEAD, inflated
from service.imaging.dicom.identifiers import Belonging, belonging
from service.imaging.radiograph import Radiograph
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.service.imaging.dicom.conftest import LIMITS, chest, element

PIXELS = chest(4095)
PLAIN = dicom_bytes(dicom_dataset(PIXELS, StudyInstanceUID="1.2.3", PatientID="Doe 7"))
DEFLATED = dicom_bytes(
    dicom_dataset(PIXELS, StudyInstanceUID="1.2.3", PatientID="Doe 7"),
    DeflatedExplicitVRLittleEndian,
)


def parts(data: bytes = DEFLATED) -> tuple[bytes, bytes]:
    """The file in front of its elements, and the elements inflated."""
    start = 144 + int.from_bytes(data[140:144], "little")
    return data[:start], zlib.decompress(data[start:], -zlib.MAX_WBITS)


def deflated(elements: bytes, level: int = 9) -> bytes:
    packer = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
    return parts()[0] + packer.compress(elements) + packer.flush()


def test_a_deflated_file_is_shown_as_one_that_is_not():
    got, expected = decode(DEFLATED, LIMITS), decode(PLAIN, LIMITS)
    np.testing.assert_array_equal(got.pixels, expected.pixels)
    assert got.corrections == ()


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("behind", [b"", b"\0", bytes(511), b"anything"])
def test_any_level_is_inflated_and_what_lies_behind_is_passed_over(level, behind):
    data = deflated(parts()[1], level) + behind
    np.testing.assert_array_equal(decode(data, LIMITS).pixels, decode(DEFLATED, LIMITS).pixels)


def test_a_file_of_any_other_syntax_is_left_as_it_is():
    assert inflated(PLAIN) is PLAIN
    assert inflated(b"") == b""


def test_an_uid_elsewhere_in_the_meta_information_does_not_make_a_file_deflated():
    data = dicom_bytes(dicom_dataset(PIXELS, SOPInstanceUID=DeflatedExplicitVRLittleEndian))
    assert inflated(data) is data


def test_a_file_larger_than_the_beginning_is_inflated_whole():
    pixels = np.random.default_rng(0).integers(0, 4096, (2500, 2048)).astype(np.uint16)
    assert pixels.nbytes > HEAD
    got, plain = (
        decode(dicom_bytes(dicom_dataset(pixels), *syntax), LIMITS)
        for syntax in ([DeflatedExplicitVRLittleEndian], [])
    )
    np.testing.assert_array_equal(got.pixels, plain.pixels)


@pytest.mark.parametrize("kept", np.linspace(0.01, 0.98, 20))
def test_a_truncated_file_is_undecodable(kept):
    start = len(parts()[0])
    data = DEFLATED[: start + round(kept * (len(DEFLATED) - start))]
    with pytest.raises(ImageUndecodable):
        decode(data, LIMITS)


def test_damaged_elements_are_undecodable():
    start = len(parts()[0])
    with pytest.raises(ImageUndecodable, match="deflated elements are damaged"):
        decode(DEFLATED[:start] + b"\xff" * 100 + DEFLATED[start:], LIMITS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(200))
def test_a_flipped_bit_gives_an_image_or_a_typed_error(seed):
    random = np.random.default_rng(seed)
    data = bytearray(DEFLATED)
    data[random.integers(len(parts()[0]), len(data))] ^= 1 << random.integers(8)
    with suppress(EclipError):
        assert isinstance(decode(bytes(data), LIMITS), Radiograph)


def bomb(extra: bytes, zeros: int) -> bytes:
    """The elements up to some point, then zeros that inflate to a thousand times their size."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    pieces = [packer.compress(extra)]
    pieces += [packer.compress(bytes(2**20)) for _ in range(zeros // 2**20)]
    return parts()[0] + b"".join([*pieces, packer.flush()])


HEADER = parts()[1][: parts()[1].index(b"\xe0\x7f\x10\x00")]
LARGE = 2**28


@pytest.mark.slow
@pytest.mark.parametrize(
    "elements",
    [
        HEADER,
        HEADER + element(0x7FE00010, b"OW", length=LARGE - 2**20),
        HEADER + element(0x7FE00010, b"OW", length=0xFFFFFFFF),
        element(0x00080005, b"UN", length=LARGE) + HEADER,
    ],
    ids=["after the header", "pixels", "encapsulated", "element"],
)
def test_a_file_that_inflates_to_far_more_than_its_pixels_is_refused_in_little_memory(elements):
    data = bomb(elements, LARGE)
    assert len(data) < LARGE / 500
    tracemalloc.start()
    with pytest.raises((ImageUndecodable, ImageUnsupported)):
        decode(data, LIMITS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * HEAD


def test_pixels_over_the_limit_are_refused_before_they_are_inflated():
    data = dicom_bytes(dicom_dataset(Rows=60_000, Columns=60_000), DeflatedExplicitVRLittleEndian)
    with pytest.raises(ImageTooLarge):
        decode(data, LIMITS)


def test_what_is_inflated_is_reserved_before():
    reserved = []
    for data in (PLAIN, DEFLATED):
        decode(data, LIMITS, reserve=reserved.append)
    assert reserved[1] - reserved[0] > 2 * PIXELS.nbytes


def test_a_header_larger_than_the_beginning_is_refused_with_the_reason():
    private = element(0x00090010, b"UN", bytes(HEAD))
    with pytest.raises(ImageUndecodable, match="more elements"):
        decode(deflated(private + parts()[1]), LIMITS)


@pytest.mark.parametrize("size", [0, 2**14, 2**20, 2**22])
def test_the_ids_of_a_deflated_file_are_found(size):
    _, elements = parts()
    random = np.random.default_rng(0).bytes(size)
    data = deflated(element(0x00080006, b"UN", random) + elements)
    asked = []

    def read(limit: int) -> bytes:
        asked.append(limit)
        return data[:limit]

    assert belonging(read) == Belonging("1.2.3", "Doe 7")
    assert len(asked) == 1 or size


def test_the_ids_of_a_damaged_deflated_file_are_none():
    start = len(parts()[0])
    data = DEFLATED[:start] + b"\xff" * 100 + DEFLATED[start:]
    assert belonging(lambda limit: data[:limit]) == Belonging(None, None)


def test_a_deflated_report_is_no_image():
    dataset = dicom_dataset(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22")
    del dataset.Rows, dataset.PixelData
    data = dicom_bytes(dataset, DeflatedExplicitVRLittleEndian)
    assert not belonging(lambda limit: data[:limit]).image
