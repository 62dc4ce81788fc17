"""Every transfer syntax in every shape that an archive holds decodes to the pixels stored.

Lossless files must equal the uncompressed one. Lossy ones are compared with another decoder, and
may differ by as much as two right decoders may: a step of the value or two.
"""

import io

import gdcm
import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames

from service.imaging.decode import decode
from service.imaging.dicom.attributes import complete
from service.imaging.dicom.pixels import stored_words
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture
from tests.service.imaging.dicom.conftest import LIMITS, item
from tests.support.archive import (
    ENCODERS,
    JPEG_XL,
    JPEG_XL_FROM_JPEG,
    JPEG_XL_LOSSLESS,
    JPEG_XLS,
    LOSSY,
    NATIVE,
    SYNTAXES,
    archived,
    with_syntax,
)
from tests.support.synthetic import radiograph
from tests.support.toolkits import by_dcmtk, by_gdcm, stored_values

pytestmark = pytest.mark.slow

SIZES = [(301, 257), (65, 81), (61, 45), (64, 96), (33, 32)]
"""Rows and columns: odd ones, even ones, and ones of 1 modulo 4 and 8."""
DEPTHS = [8, 10, 12, 16]
MOST_BITS = {uid.JPEGExtended12Bit: 12}
LOSSLESS = [syntax for syntax in SYNTAXES if syntax not in LOSSY]
STEPS = {
    uid.JPEGBaseline8Bit: 1,
    uid.JPEGExtended12Bit: 1,
    uid.JPEGLSNearLossless: 0,
    uid.JPEG2000: 1,
    uid.HTJ2K: 1,
    JPEG_XL_FROM_JPEG: 2,
}
"""Lossy transfer syntax → by how many values two decoders may differ. T.83 allows 1 for the DCT;
libjxl reconstructs the DCT in floating point."""


def depths(syntaxes) -> list[tuple[uid.UID, int]]:
    return [(syntax, bits) for syntax in syntaxes for bits in DEPTHS
            if bits <= MOST_BITS.get(syntax, 16)]  # fmt: skip


def named(value) -> str:
    return getattr(value, "name", "") or str(value)


def as_stored(pixels, bits, **elements) -> np.ndarray:
    """The rendition of the uncompressed file."""
    return decode(archived(uid.ExplicitVRLittleEndian, pixels, bits, **elements), LIMITS).pixels


def with_headroom(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Values that stay inside their range when a lossy codec errs: what lies outside is cut off by
    some decoders and wraps around in others."""
    return pixels // 8 * 7 + 2 ** (bits - 4)


def same(data: bytes, expected: np.ndarray, atol: int = 0, *, corrected: bool = False) -> None:
    got = decode(data, LIMITS)
    assert corrected or not got.corrections
    assert got.pixels.shape == expected.shape
    np.testing.assert_allclose(got.pixels.astype(int), expected.astype(int), rtol=0, atol=atol)


def reencapsulated(data: bytes, encapsulated: bytes, **elements) -> bytes:
    """The file with other fragments."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.PixelData = encapsulated
    dataset["PixelData"].VR = "OB"
    for name, value in elements.items():
        setattr(dataset, name, value)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in JPEG_XLS:
        return with_syntax(dicom_bytes(dataset, uid.JPEG2000), syntax)
    return dicom_bytes(dataset, syntax)


def with_frame(pixels, bits: int, frame: bytes, syntax: uid.UID) -> bytes:
    """A file of these pixels, compressed by the test itself."""
    dataset = dicom_dataset(pixels, BitsStored=bits, HighBit=bits - 1)
    dataset.PixelData = encapsulate([frame])
    if syntax in JPEG_XLS:
        return with_syntax(dicom_bytes(dataset, uid.JPEG2000), syntax)
    return dicom_bytes(dataset, syntax)


def frame_of(data: bytes) -> bytes:
    return next(generate_frames(pydicom.dcmread(io.BytesIO(data)).PixelData, number_of_frames=1))


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("bits", DEPTHS)
def test_the_uncompressed_rendition_is_the_values(bits, size):
    pixels = radiograph(*size, bits)
    np.testing.assert_allclose(as_stored(pixels, bits) / 65535, pixels / (2**bits - 1), atol=1e-4)


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("bits", [7, *DEPTHS])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=named)
def test_a_lossless_file_is_shown_like_the_uncompressed_one(syntax, bits, size):
    pixels = radiograph(*size, bits)
    same(archived(syntax, pixels, bits), as_stored(pixels, bits))


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize(("syntax", "bits"), depths(STEPS), ids=named)
def test_a_lossy_file_is_shown_as_another_decoder_shows_it(syntax, bits, size, tmp_path):
    pixels = with_headroom(radiograph(*size, bits), bits)
    depth = 8 if syntax in {uid.JPEGBaseline8Bit, JPEG_XL_FROM_JPEG} else bits
    window = {"WindowCenter": 2 ** (depth - 1), "WindowWidth": 2**depth}
    data = archived(syntax, pixels, bits, **window)
    source = data
    if syntax == JPEG_XL_FROM_JPEG:  # no other decoder reads it: the JPEG that was transcoded
        source = archived(uid.JPEGBaseline8Bit, pixels, bits, **window)
    others = stored_values(source, tmp_path)
    atol = STEPS[syntax] * 65535 // (2**depth - 1) + 1
    # Near-lossless values may lie above BitsStored; both are corrected then.
    same(data, as_stored(others, depth, **window), atol=atol, corrected=True)


@pytest.mark.parametrize("bits", DEPTHS)
def test_a_lossy_jpeg_xl_is_near_to_the_pixels(bits):
    """No other decoder is at hand. Distance 1 is not seen by eye."""
    pixels = radiograph(301, 257, bits)
    window = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
    got = decode(archived(JPEG_XL, pixels, bits, **window), LIMITS)
    error = np.abs(got.pixels / 65535 - as_stored(pixels, bits, **window) / 65535)
    assert error.mean() < 0.01
    assert error.max() < 0.1


@pytest.mark.parametrize("columns", [80, 81])
def test_bytes_of_big_endian_words_are_swapped(columns):
    """Eight bits in OW: two pixels a word, the second in the first byte (PS3.5 8.1.1)."""
    pixels = radiograph(64, columns, 8)
    dataset = pydicom.dcmread(io.BytesIO(archived(uid.ExplicitVRBigEndian, pixels, 8)))
    dataset.PixelData = np.frombuffer(dataset.PixelData, np.uint16).byteswap().tobytes()
    dataset["PixelData"].VR = "OW"
    same(dicom_bytes(dataset, uid.ExplicitVRBigEndian), as_stored(pixels, 8))


def saturated(bits: int) -> np.ndarray:
    """Hard edges between black and white, as letters and collimators have."""
    pixels = radiograph(128, 160, bits)
    pixels[20:60, 20:60], pixels[70:110, 90:140] = 2**bits - 1, 0
    pixels[30:50:4, 30:50], pixels[80:100, 100:130:5] = 0, 2**bits - 1
    return pixels


@pytest.mark.parametrize("most", [2, 4])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    "syntax", [uid.JPEGBaseline8Bit, uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless,
               uid.HTJ2KLosslessRPCL, uid.HTJ2K], ids=named,
)  # fmt: skip
def test_shrunk_pixels_do_not_wrap_around(syntax, bits, most):
    """A wavelet's lower resolutions overshoot too, also of lossless codestreams."""
    pixels = saturated(bits)
    dataset = pydicom.dcmread(io.BytesIO(archived(syntax, pixels, bits)))
    complete(dataset, native=False)
    got = stored_words(dataset, most)
    assert got.shrunk in {1, most}
    by = got.shrunk
    whole = pixels.reshape(128 // by, by, 160 // by, by)
    white, black = whole.min((1, 3)) == 2**bits - 1, whole.max((1, 3)) == 0
    half = 2 ** (int(dataset.BitsStored) - 1)
    assert (got.words[white] > half).all()
    assert (got.words[black] < half).all()


OVERSHOOTS = {(uid.JPEGLSNearLossless, bits) for bits in (10, 12)}
"""Its values lie above BitsStored beside a hard edge, in dcmtk too."""


@pytest.mark.parametrize(
    ("syntax", "bits"),
    [each for each in depths(sorted(LOSSY)) if each not in OVERSHOOTS],
    ids=named,
)
def test_saturated_pixels_do_not_wrap_around(syntax, bits):
    """Beside a hard edge a lossy codec overshoots the range: white must not become black."""
    pixels = saturated(bits)
    window = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
    if syntax in {uid.JPEGBaseline8Bit, JPEG_XL_FROM_JPEG}:
        window = {"WindowCenter": 128, "WindowWidth": 256}
    got = decode(archived(syntax, pixels, bits, **window), LIMITS).pixels / 65535
    assert np.abs(got - pixels / (2**bits - 1)).max() < 0.5


SIGNED = [
    *NATIVE, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless,
    uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL,
]  # fmt: skip
"""Syntaxes whose words, or whose codestreams, are signed themselves."""


@pytest.mark.parametrize("bits", DEPTHS)
@pytest.mark.parametrize("syntax", SIGNED, ids=named)
def test_signed_values_are_read(syntax, bits):
    pixels = radiograph(65, 81, bits, signed=True)
    same(archived(syntax, pixels, bits), as_stored(pixels, bits))


@pytest.mark.parametrize("filled", [False, True], ids=["of BitsStored", "of BitsAllocated"])
@pytest.mark.parametrize("bits", DEPTHS)
@pytest.mark.parametrize(
    "syntax", [uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless], ids=named
)
def test_signed_values_coded_as_unsigned_words_are_read(syntax, bits, filled):
    """Lossless JPEG and JPEG-LS have no sign: they code the words (PS3.5 A.4.1, A.4.3)."""
    pixels = radiograph(65, 81, bits, signed=True)
    words = pixels.view(pixels.dtype.str.replace("i", "u"))
    coded = words if filled else words & (2**bits - 1)
    frame = ENCODERS[syntax](coded, 8 * words.itemsize if filled else bits)
    same(with_frame(pixels, bits, frame, syntax), as_stored(pixels, bits))


@pytest.mark.parametrize("syntax", LOSSLESS, ids=named)
def test_monochrome1_is_turned_over(syntax):
    pixels = radiograph(65, 81, 12)
    low = decode(archived(syntax, pixels, PhotometricInterpretation="MONOCHROME1"), LIMITS)
    assert low.inverted
    expected = as_stored(pixels, 12, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(low.pixels, expected)
    np.testing.assert_allclose(low.pixels / 65535, 1 - pixels / 4095, atol=1e-4)


GRAY_AS_COLOUR = {
    **dict.fromkeys(NATIVE, ("RGB", 0)),
    uid.DeflatedExplicitVRLittleEndian: ("RGB", 0),
    uid.RLELossless: ("RGB", 0),
    uid.JPEGBaseline8Bit: ("YBR_FULL", 6),
    uid.JPEGLossless: ("RGB", 0),
    uid.JPEGLosslessSV1: ("RGB", 0),
    uid.JPEGLSLossless: ("RGB", 0),
    uid.JPEGLSNearLossless: ("RGB", 4),
    uid.JPEG2000Lossless: ("YBR_RCT", 0),
    uid.JPEG2000: ("YBR_ICT", 40),
    uid.HTJ2KLossless: ("YBR_RCT", 0),
    uid.HTJ2KLosslessRPCL: ("YBR_RCT", 0),
    JPEG_XL_LOSSLESS: ("RGB", 0),
    JPEG_XL: ("XYB", 8),
}
"""Transfer syntax → how it names colour, and by how many of 255 values its gray may differ."""


@pytest.mark.parametrize("syntax", GRAY_AS_COLOUR, ids=named)
def test_gray_stored_as_colour_is_read(syntax):
    gray = radiograph(65, 81, 8)
    colour = np.repeat(gray[..., None], 3, axis=-1)
    photometric, steps = GRAY_AS_COLOUR[syntax]
    data = archived(
        syntax,
        colour,
        8,
        Rows=65,
        Columns=81,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation=photometric,
    )
    same(data, gray.astype(int) * 257, atol=int(steps * 257))


@pytest.mark.parametrize(
    "syntax",
    [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless],
    ids=named,
)
def test_deep_gray_stored_as_colour_is_read(syntax):
    gray = radiograph(65, 81, 16)
    data = archived(
        syntax,
        np.repeat(gray[..., None], 3, axis=-1),
        16,
        Rows=65,
        Columns=81,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
    )
    same(data, gray)


# Fragments (PS3.5 A.4): one frame, told apart in every way that the standard allows


def odd(frame: bytes) -> bytes:
    """Of odd length: without the padding after its end marker, or with another byte."""
    return frame[:-1] if frame.endswith(b"\xff\xd9\0") else frame + b"\0"


def in_thirds(frame: bytes) -> list[bytes]:
    cut = len(frame) // 3 | 1
    return [frame[:cut], frame[cut : 2 * cut], frame[2 * cut :]]


FRAGMENTS = {
    "a basic offset table": lambda frame: encapsulate([frame], has_bot=True),
    "an empty basic table": lambda frame: encapsulate([frame], has_bot=False),
    "an odd length": lambda frame: item() + item(odd(frame)),
    "three fragments": lambda frame: encapsulate([frame], fragments_per_frame=3, has_bot=True),
    "three fragments without a table": lambda frame: encapsulate(
        [frame], fragments_per_frame=3, has_bot=False
    ),
    "three fragments of odd lengths": lambda frame: (
        item() + b"".join(item(part) for part in in_thirds(frame))
    ),
    "an empty fragment at its end": lambda frame: item() + item(frame) + item(),
}
ENCAPSULATED = [uid.RLELossless, *ENCODERS]


@pytest.mark.parametrize("fragments", FRAGMENTS)
@pytest.mark.parametrize("syntax", ENCAPSULATED, ids=named)
def test_a_frame_in_fragments_is_read(syntax, fragments):
    pixels = radiograph(65, 81, 12)
    data = archived(syntax, pixels)
    frame = frame_of(data)
    got = decode(reencapsulated(data, FRAGMENTS[fragments](frame)), LIMITS)
    np.testing.assert_array_equal(got.pixels, decode(data, LIMITS).pixels)


@pytest.mark.parametrize("syntax", ENCAPSULATED, ids=named)
def test_an_extended_offset_table_is_read(syntax):
    data = archived(syntax, radiograph(65, 81, 12))
    frames, offsets, lengths = encapsulate_extended([frame_of(data)])
    extended = reencapsulated(
        data,
        frames,
        ExtendedOffsetTable=offsets,
        ExtendedOffsetTableLengths=lengths,
        NumberOfFrames=1,
    )
    got = decode(extended, LIMITS)
    np.testing.assert_array_equal(got.pixels, decode(data, LIMITS).pixels)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=named)
def test_one_frame_of_a_multi_frame_class_is_read(syntax):
    pixels = radiograph(65, 81, 12)
    elements = {
        "SOPClassUID": uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        "Modality": "DX",
        "NumberOfFrames": 1,
    }
    got = decode(archived(syntax, pixels, **elements), LIMITS)
    np.testing.assert_array_equal(got.pixels, decode(archived(syntax, pixels), LIMITS).pixels)


# Variants of one syntax that other encoders write


@pytest.mark.parametrize(
    "options",
    [{"codecformat": "JP2"}, {"resolutions": 1}, {"resolutions": 6}, {"bitspersample": 16}],
    ids=str,
)
def test_jpeg_2000_of_other_structure_is_read(options):
    pixels = radiograph(301, 257, 12)
    given = {"codecformat": "J2K", "bitspersample": 12, "reversible": True} | options
    frame = imagecodecs.jpeg2k_encode(pixels, **given)
    same(with_frame(pixels, 12, frame, uid.JPEG2000Lossless), as_stored(pixels, 12))


@pytest.mark.parametrize("progression", ["LRCP", "RLCP", "RPCL", "PCRL", "CPRL"])
@pytest.mark.parametrize(("bits", "tile"), [(8, None), (8, (64, 64)), (16, None)], ids=str)
def test_jpeg_2000_in_any_order_and_tiling_is_read(progression, bits, tile):
    """Pillow writes no right tiles of 16 bits."""
    pixels = radiograph(301, 257, bits)
    frame = picture(
        Image.fromarray(pixels), "JPEG2000", no_jp2=True, progression=progression, tile_size=tile
    )
    same(with_frame(pixels, bits, frame, uid.JPEG2000Lossless), as_stored(pixels, bits))


@pytest.mark.parametrize("tile", [None, (64, 64)])
@pytest.mark.parametrize("resolutions", [1, 5])
def test_htj2k_of_other_structure_is_read(tile, resolutions):
    pixels = radiograph(301, 257, 12)
    frame = imagecodecs.htj2k_encode(pixels, reversible=True, tile=tile, resolutions=resolutions)
    same(with_frame(pixels, 12, frame, uid.HTJ2KLossless), as_stored(pixels, 12))


@pytest.mark.parametrize("container", [False, True], ids=["codestream", "container"])
def test_jpeg_xl_is_read_with_and_without_its_container(container):
    pixels = radiograph(65, 81, 12)
    frame = imagecodecs.jpegxl_encode(pixels, lossless=True, usecontainer=container)
    same(with_frame(pixels, 12, frame, JPEG_XL_LOSSLESS), as_stored(pixels, 12))


# Files that other toolkits made

BY_DCMTK = {
    "lossless JPEG": ("dcmcjpeg", "+e1"),
    **{f"lossless JPEG, predictor {n}": ("dcmcjpeg", "+el", "+sv", str(n)) for n in range(1, 8)},
    "JPEG-LS": ("dcmcjpls",),
    "JPEG-LS of raw words": ("dcmcjpls", "+pr"),
    "RLE": ("dcmcrle",),
    "deflate": ("dcmconv", "+td"),
    "big endian": ("dcmconv", "+tb"),
    "implicit": ("dcmconv", "+ti"),
}


@pytest.mark.parametrize(
    ("bits", "signed"), [(8, False), (10, False), (12, False), (12, True), (16, False), (16, True)]
)
@pytest.mark.parametrize("made", BY_DCMTK)
def test_lossless_files_of_dcmtk_are_read(made, bits, signed, tmp_path):
    pixels = radiograph(65, 81, bits, signed=signed)
    data = archived(uid.ExplicitVRLittleEndian, pixels, bits)
    same(by_dcmtk(data, tmp_path, *BY_DCMTK[made]), as_stored(pixels, bits))


LOSSY_BY_DCMTK = {
    "baseline": ("dcmcjpeg", "+eb"),
    "extended": ("dcmcjpeg", "+ee"),
    "spectral selection": ("dcmcjpeg", "+es"),
    "progressive": ("dcmcjpeg", "+ep"),
}


@pytest.mark.parametrize(
    ("made", "bits"),
    [
        (made, bits)
        for made in LOSSY_BY_DCMTK
        for bits in (8, 12)
        if (made, bits) != ("baseline", 12)
    ],
)
def test_dct_jpeg_of_dcmtk_is_read_as_dcmtk_reads_it(made, bits, tmp_path):
    pixels = with_headroom(radiograph(65, 81, bits), bits)
    window = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
    data = archived(uid.ExplicitVRLittleEndian, pixels, bits, **window)
    compressed = by_dcmtk(data, tmp_path, *LOSSY_BY_DCMTK[made])
    native = by_dcmtk(compressed, tmp_path, "dcmdjpeg")
    same(compressed, decode(native, LIMITS).pixels, atol=65535 // (2**bits - 1) + 1)


@pytest.mark.parametrize(
    ("bits", "signed"), [(8, False), (10, False), (12, False), (12, True), (16, False), (16, True)]
)
@pytest.mark.parametrize(
    "made",
    ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless",
     "RLELossless"],
)  # fmt: skip
def test_lossless_files_of_gdcm_are_read(made, bits, signed, tmp_path):
    pixels = radiograph(66, 81, bits, signed=signed)
    data = archived(uid.ExplicitVRLittleEndian, pixels, bits)
    compressed = by_gdcm(data, tmp_path, getattr(gdcm.TransferSyntax, made))
    same(compressed, as_stored(pixels, bits))
