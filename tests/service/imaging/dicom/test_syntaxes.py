"""Every transfer syntax that a chest archive holds is read, and compared with other decoders."""

import io
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pixel_array

from service.imaging.dicom.attributes import complete
from service.imaging.dicom.frames import read_header
from service.imaging.dicom.header import read_dataset
from service.imaging.dicom.pixels import StoredWords, stored_words
from service.imaging.dicom.syntaxes import codec, is_native
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture, ramp
from tests.service.imaging.dicom.conftest import chest
from tests.support.archive import (
    ENCODERS,
    JPEG_XLS,
    LOSSY,
    SYNTAXES,
    archived,
    enclosed,
)

pytestmark = pytest.mark.slow

DEFLATED = uid.DeflatedExplicitVRLittleEndian
READ = [syntax for syntax in SYNTAXES if syntax != DEFLATED]
SPECTRAL, PROGRESSIVE = (uid.UID(f"1.2.840.10008.1.2.4.{last}") for last in (53, 55))


def stored(data: bytes, most: int = 1) -> StoredWords:
    dataset, *_ = read_dataset(data)
    complete(dataset, native=is_native(dataset))
    return stored_words(dataset, most)


def words(data: bytes) -> np.ndarray:
    return stored(data).words


def by_pydicom(data: bytes, plugin: str) -> np.ndarray:
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    return pixel_array(dataset, index=0, decoding_plugin=plugin, correct_unused_bits=False)


def same(got: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(got, expected.view(expected.dtype.str.replace("i", "u")))


@pytest.mark.parametrize(
    ("syntax", "bits"),
    [(syntax, bits) for syntax in READ for bits in (8, 10, 12, 16)
     if bits <= 12 or syntax != uid.JPEGExtended12Bit],
)  # fmt: skip
def test_the_stored_words_are_read(syntax, bits):
    eight = syntax in {uid.JPEGBaseline8Bit, JPEG_XLS[1]}
    pixels = chest(2**bits - 1, np.uint8 if bits == 8 else np.uint16)
    got = words(archived(syntax, pixels, bits))
    if eight:
        pixels = pixels >> (bits - 8)
    assert got.shape == pixels.shape
    assert got.dtype == (np.uint8 if eight else pixels.dtype)
    if syntax in LOSSY:
        assert np.abs(got.astype(int) - pixels).mean() < 2**bits / 100
    else:
        np.testing.assert_array_equal(got, pixels)


SIGNED = (
    uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.RLELossless, uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
)  # fmt: skip


@pytest.mark.parametrize("syntax", SIGNED, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_signed_words_are_read(syntax, bits):
    kind = np.int8 if bits == 8 else np.int16
    pixels = (chest(2**bits - 1, np.int32) - 2 ** (bits - 1)).astype(kind)
    same(words(archived(syntax, pixels, bits)), pixels)


PLUGINS = {  # for lossless JPEG it has gdcm alone, which ends the process on some of these files
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.RLELossless: "pydicom",
    uid.JPEGBaseline8Bit: "pillow",
}


@pytest.mark.parametrize(
    ("syntax", "bits", "allocated"),
    [(syntax, bits, allocated) for syntax in PLUGINS
     for bits, allocated in [(7, 8), (8, 8), (12, 16), (16, 16)]
     if allocated == 8 or syntax != uid.JPEGBaseline8Bit],
)  # fmt: skip
@pytest.mark.parametrize("signed", [0, 1], ids=["unsigned", "declared as signed"])
def test_the_words_are_those_of_pydicoms_decoders(syntax, signed, bits, allocated):
    """Also where the header says another sign than the frame: pydicom turns the highest bit."""
    pixels = chest(2**bits - 1, np.uint8 if allocated == 8 else np.uint16)
    data = archived(syntax, pixels, bits, PixelRepresentation=signed)
    same(words(data), by_pydicom(data, PLUGINS[syntax]))


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEG2000Lossless])
@pytest.mark.parametrize("signed", [0, 1])
def test_a_frame_of_fewer_bits_than_are_allocated_is_read_as_pydicom_does(syntax, signed):
    pixels = chest(255, np.uint8)
    frame = bytes(ENCODERS[syntax](pixels, 8))
    dataset = dicom_dataset(
        pixels, BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=signed
    )
    data = enclosed(syntax, dataset, encapsulate([frame]))
    plugin = PLUGINS[syntax]
    same(words(data), by_pydicom(data, plugin))


COLOURS = {
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.RLELossless: "pydicom",
}


@pytest.mark.parametrize("syntax", COLOURS, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("interpretation", ["RGB", "YBR_FULL"])
def test_colour_becomes_the_luma_of_what_pydicom_reads(syntax, interpretation):
    gray = chest(255, np.uint8)
    pixels = np.stack([gray, gray[::-1], gray // 2], axis=-1)
    dataset = dicom_dataset(
        pixels, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation=interpretation
    )
    dataset.Rows, dataset.Columns = gray.shape
    if syntax == uid.RLELossless:
        dicom_bytes(dataset)
        dataset.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
        data = dicom_bytes(dataset, syntax)
    else:
        data = enclosed(syntax, dataset, encapsulate([bytes(ENCODERS[syntax](pixels, 8))]))
    expected = picture_luma(by_pydicom(data, COLOURS[syntax]))
    np.testing.assert_array_equal(words(data), expected)


@pytest.mark.parametrize("interpretation", ["RGB", "YBR_FULL"])
def test_lossless_jpeg_in_colour_is_read_as_the_same_pixels_uncompressed(interpretation):
    gray = chest(255, np.uint8)
    pixels = np.stack([gray, gray[::-1], gray // 2], axis=-1)
    dataset = dicom_dataset(
        pixels, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation=interpretation
    )
    dataset.Rows, dataset.Columns = gray.shape
    native = words(dicom_bytes(dataset))
    frame = bytes(ENCODERS[uid.JPEGLossless](pixels, 8))
    got = words(enclosed(uid.JPEGLossless, dataset, encapsulate([frame])))
    np.testing.assert_array_equal(got, native)


def picture_luma(colour: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(colour).convert("L"))


@pytest.mark.parametrize("syntax", [*JPEG_XLS, PROGRESSIVE])
def test_gray_stored_as_colour_is_read(syntax):
    gray = chest(255, np.uint8)
    pixels = np.repeat(gray[..., None], 3, axis=-1)
    dataset = dicom_dataset(gray, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    encode = ENCODERS.get(syntax, ENCODERS[uid.JPEGBaseline8Bit])
    got = words(enclosed(syntax, dataset, encapsulate([bytes(encode(pixels, 8))])))
    assert np.abs(got.astype(int) - gray).max() <= 8


@pytest.mark.parametrize("bits", range(2, 17))
def test_lossless_jpeg_of_any_depth_is_read_with_any_predictor(bits):
    import imagecodecs

    pixels = chest(2**bits - 1, np.uint8 if bits <= 8 else np.uint16)
    for predictor in range(1, 8):
        frame = imagecodecs.jpeg8_encode(
            pixels, lossless=True, predictor=predictor, bitspersample=bits
        )
        dataset = dicom_dataset(pixels, BitsStored=bits, HighBit=bits - 1)
        data = enclosed(uid.JPEGLossless, dataset, encapsulate([bytes(frame)]))
        np.testing.assert_array_equal(words(data), pixels)


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEGLSNearLossless])
def test_jpeg_ls_of_any_depth_is_read(bits, syntax):
    pixels = chest(2**bits - 1, np.uint8 if bits <= 8 else np.uint16)
    dataset = dicom_dataset(pixels, BitsStored=bits, HighBit=bits - 1)
    dicom_bytes(dataset)
    near = {"jls_error": 1} if syntax == uid.JPEGLSNearLossless and bits > 2 else {}
    dataset.compress(syntax, encoding_plugin="pyjpegls", generate_instance_uid=False, **near)
    got = words(dicom_bytes(dataset, syntax))
    assert np.abs(got.astype(int) - pixels).max() <= (1 if near else 0)


def by_dcmtk(tool: str, dataset, tmp_path, *options: str) -> bytes:
    """The file that a tool of dcmtk makes of an uncompressed dataset."""
    if shutil.which(tool) is None:
        pytest.skip(f"needs dcmtk ({tool})")
    source, target = tmp_path / "source.dcm", tmp_path / "target.dcm"
    source.write_bytes(dicom_bytes(dataset))
    subprocess.run([tool, *options, source, target], check=True)
    return target.read_bytes()


def decoded_by_dcmtk(data: bytes, tmp_path) -> np.ndarray:
    source, target = tmp_path / "compressed.dcm", tmp_path / "native.dcm"
    source.write_bytes(data)
    subprocess.run(["dcmdjpeg", source, target], check=True)
    return pixel_array(target, correct_unused_bits=False)


@pytest.mark.parametrize("bits", [6, 7, 8])
def test_jpeg_ls_of_dcmtk_is_read(bits, tmp_path):
    pixels = chest(2**bits - 1, np.uint8)
    dataset = dicom_dataset(pixels, BitsStored=bits, HighBit=bits - 1)
    np.testing.assert_array_equal(words(by_dcmtk("dcmcjpls", dataset, tmp_path)), pixels)


@pytest.mark.parametrize("point", [0, 1, 3])
@pytest.mark.parametrize("selection", [1, 4, 6, 7])
def test_lossless_jpeg_of_dcmtk_with_a_point_transform_is_read(selection, point, tmp_path):
    pixels = chest(4095)
    dataset = dicom_dataset(pixels, BitsStored=12, HighBit=11)
    options = ["+el", "+sv", str(selection), "+pt", str(point)]
    got = words(by_dcmtk("dcmcjpeg", dataset, tmp_path, *options))
    np.testing.assert_array_equal(got, pixels >> point << point)


@pytest.mark.parametrize("process", ["+ee", "+es", "+ep"], ids=["51", "53", "55"])
@pytest.mark.parametrize("bits", [8, 12])
def test_dct_jpeg_of_dcmtk_is_read(process, bits, tmp_path):
    pixels = chest(2**bits - 1, np.uint8 if bits == 8 else np.uint16)
    dataset = dicom_dataset(pixels, BitsStored=bits, HighBit=bits - 1)
    data = by_dcmtk("dcmcjpeg", dataset, tmp_path, process, "+q", "95")
    got = words(data).astype(int)
    assert np.abs(got - pixels).mean() < 2**bits / 200
    assert np.abs(got - decoded_by_dcmtk(data, tmp_path)).max() <= 1


def test_a_progressive_jpeg_is_read():
    from PIL import Image

    file = picture(Image.fromarray(ramp()), "JPEG", progressive=True, quality=100)
    data = enclosed(PROGRESSIVE, dicom_dataset(ramp()), encapsulate([file]))
    np.testing.assert_array_equal(words(data), np.asarray(Image.open(io.BytesIO(file))))


HALVED = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2K, uid.JPEGBaseline8Bit)


@pytest.mark.parametrize("syntax", HALVED, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("side", [96, 97, 98, 99, 101, 103])
@pytest.mark.parametrize("most", [1, 2, 3, 4, 8])
def test_a_frame_is_shrunk_to_sides_that_are_rounded_up(syntax, side, most):
    bits = 8 if syntax == uid.JPEGBaseline8Bit else 12
    y, x = np.mgrid[0:side, 0 : side + 5]
    pixels = ((y + x) * (2**bits / 256)).astype(np.uint8 if bits == 8 else np.uint16)
    got = stored(archived(syntax, pixels, bits), most)
    assert got.shrunk == {1: 1, 2: 2, 3: 2, 4: 4, 8: 8}[most]
    assert got.words.shape == (-(-side // got.shrunk), -(-(side + 5) // got.shrunk))
    expected = pixels[:: got.shrunk, :: got.shrunk].astype(int)
    assert np.abs(got.words - expected).mean() < 2**bits / 32


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("most", [2, 4, 8])
@pytest.mark.parametrize("side", [96, 101])
def test_two_codecs_shrink_alike(signed, most, side):
    """Both keep the low frequencies of the same wavelet, which run over the values' range."""
    pixels = np.random.default_rng(side).integers(0, 2, (side, 96)) * 4095
    pixels = pixels - 2048 if signed else pixels
    pixels = pixels.astype(np.int16 if signed else np.uint16)
    one, other = (
        stored(archived(syntax, pixels, 12), most)
        for syntax in (uid.JPEG2000Lossless, uid.HTJ2KLossless)
    )
    assert one.shrunk == other.shrunk == most
    assert len(np.unique(one.words)) > 100
    np.testing.assert_array_equal(one.words, other.words)


@pytest.mark.parametrize("bits", [8, 16])
def test_htj2k_is_read_whole_where_nothing_tells_that_values_run_over_their_range(bits):
    data = archived(uid.HTJ2KLossless, chest(2**bits - 1, [np.uint8, np.uint16][bits > 8]), bits)
    assert stored(data, 8).shrunk == 1


@pytest.mark.parametrize("syntax", [*sorted(LOSSY)])
def test_lossy_frames_end_their_values_at_the_range(syntax):
    """Black next to white rings: a value below black must not come out white."""
    bits = 8 if syntax in {uid.JPEGBaseline8Bit, JPEG_XLS[1]} else 12
    y, x = np.mgrid[0:64, 0:48]
    pixels = ((y // 5 + x // 7) % 2 * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    got = words(archived(syntax, pixels, bits))
    assert np.abs(got.astype(int) - pixels).max() < 2 ** (bits - 1)


@pytest.mark.parametrize(
    "elements",
    [{"BitsStored": 10, "HighBit": 9}, {"HighBit": 15}, {"PixelRepresentation": 1}],
    ids=["fewer bits", "high bits", "signed"],
)
def test_a_frame_whose_values_are_not_those_of_the_header_is_read_whole(elements):
    data = archived(uid.JPEG2000Lossless, chest(4095), 12, **elements)
    assert stored(data, 8).shrunk == 1


def test_a_frame_is_halved_as_often_as_it_was_transformed():
    import imagecodecs

    pixels = chest(255, np.uint8)
    frame = imagecodecs.jpeg2k_encode(pixels, codecformat="J2K", reversible=True, resolutions=2)
    data = enclosed(uid.JPEG2000Lossless, dicom_dataset(pixels), encapsulate([bytes(frame)]))
    dataset = pydicom.dcmread(io.BytesIO(data))
    (found,) = generate_frames(dataset.PixelData, number_of_frames=1)
    levels = read_header(codec(dataset), dataset, found).levels
    assert levels < 3
    assert stored(data, 64).shrunk == 2**levels
