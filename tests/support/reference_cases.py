"""Builds the files whose renditions are compared with dcmtk's: `GROUPS`.

They are all shapes in native syntaxes, and some shapes in each transfer syntax, written by
imagecodecs, by pydicom and by dcmtk's own tools.
"""

import io
from collections.abc import Iterator

import imagecodecs
import numpy as np
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate, encapsulate_extended

from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.support.archive import ENCODERS, JPEG_XLS, LOSSY, SYNTAXES, archived, enclosed
from tests.support.reference import RANGE, WINDOW, Case, by_dcmtk
from tests.support.reference_shapes import SHAPES, WIDE, chest, stored, twelve

UNREAD = {*JPEG_XLS, uid.JPEG2000, uid.JPEG2000Lossless, uid.HTJ2K, uid.HTJ2KLossless,
          uid.HTJ2KLosslessRPCL}  # fmt: skip
"""Transfer syntaxes that Debian's dcmtk does not read."""
BELOW_ZERO = {"WindowCenter": -200, "WindowWidth": 3000}


def _made_by_dcmtk() -> Iterator[tuple[str, Case]]:
    plain = twelve(**WIDE)
    for name, options in {
        "implicit VR": ["+ti"], "big endian": ["+tb"], "deflated": ["+td"],
        "deflated, stored": ["+td", "+cl", "0"], "group lengths": ["+g"],
        "undefined lengths": ["-e"], "trailing padding": ["+p", "4096", "64"],
        "no meta information": ["-F"], "no meta information, implicit": ["-F", "+ti"],
        "no meta information, big endian": ["-F", "+tb"],
    }.items():  # fmt: skip
        yield f"dcmconv, {name}", Case(by_dcmtk("dcmconv", plain, *options), WINDOW)
    eight = dicom_bytes(dicom_dataset(chest(8)))
    yield "dcmconv, 8 bits big endian", Case(by_dcmtk("dcmconv", eight, "+tb"))
    signed = dicom_bytes(stored(chest(12, signed=True) & 0xFFF, 12))
    overlaid = dict(SHAPES["overlays"]())["an overlay in bit 15"].file
    sources = {"7 bits": dicom_bytes(stored(chest(7), 7)), "8 bits": eight,
               "10 bits": dicom_bytes(stored(chest(10), 10)),
               "14 bits, signed": dicom_bytes(stored(chest(14, signed=True), 14)),
               "12 bits, an overlay in bit 15": overlaid,
               "12 bits": plain, "12 bits, signed": signed,
               "16 bits": dicom_bytes(dicom_dataset(chest(16)))}  # fmt: skip
    for name, source in sources.items():
        options = WINDOW if source is plain else RANGE
        for tool, how, modes in (
            ("dcmcrle", "RLE", {"": []}),
            ("dcmcjpeg", "JPEG lossless", {"SV1": ["+e1"]}),
            ("dcmcjpls", "JPEG-LS", {"": ["+el"]}),
        ):
            for mode, arguments in modes.items():
                file = by_dcmtk(tool, source, *arguments)
                yield f"{tool}, {how} {mode}, {name}", Case(file, options)
    for process, arguments in {"51": ["+ee"], "53": ["+es"], "55": ["+ep"]}.items():
        for source in ("8 bits", "12 bits"):
            depth = "+be" if source == "8 bits" else "+bt"
            file = by_dcmtk("dcmcjpeg", sources[source], *arguments, depth)
            options = WINDOW if source == "12 bits" else RANGE
            yield f"dcmcjpeg, DCT JPEG {process}, {source}", Case(file, options)
    for predictor in "234567":
        file = by_dcmtk("dcmcjpeg", plain, "+el", "+sv", predictor)
        yield f"dcmcjpeg, JPEG lossless, predictor {predictor}", Case(file, WINDOW)
    yield "dcmcjpeg, baseline", Case(by_dcmtk("dcmcjpeg", eight, "+eb"))
    yield "dcmcjpls, near lossless", Case(by_dcmtk("dcmcjpls", plain, "+en"), WINDOW)
    large = dicom_bytes(stored(chest(12, shape=(200, 160)), 12))
    for tool, arguments in (("dcmcrle", []), ("dcmcjpeg", ["+e1"]), ("dcmcjpls", ["+el"])):
        file = by_dcmtk(tool, large, *arguments, "+fs", "2", "-ot")
        yield f"{tool}, fragments without an offset table", Case(file)


def _syntaxes() -> Iterator[tuple[str, Case]]:
    shapes: dict[str, tuple[int, dict[str, object], tuple[str, ...]]] = {
        "8 bits": (8, {}, RANGE),
        "12 bits with a window": (12, WIDE, WINDOW),
        "12 bits, MONOCHROME1": (12, {"PhotometricInterpretation": "MONOCHROME1"}, RANGE),
        "16 bits": (16, {}, RANGE),
    }
    for syntax in SYNTAXES:
        for name, (bits, header, options) in shapes.items():
            if bits not in _bits(syntax):
                continue
            case = Case(
                archived(syntax, chest(bits), bits, **header),
                options,
                _uncompressed(syntax, bits, header) if syntax in UNREAD else None,
            )
            yield f"{syntax}, {name}", case


def _fragments() -> Iterator[tuple[str, Case]]:
    """Frames of lossless syntaxes in several fragments, with offset tables and without."""
    for syntax in (uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless,
                   uid.HTJ2KLossless, JPEG_XLS[0]):  # fmt: skip
        frame = ENCODERS[syntax](chest(12), 12)
        for name, pixels in {
            "one fragment, no table": encapsulate([frame], has_bot=False),
            "five fragments": encapsulate([frame], fragments_per_frame=5),
            "five fragments, no table": encapsulate([frame], 5, has_bot=False),
            "an odd fragment": _odd(frame),
        }.items():
            yield f"{syntax.name}, {name}", _encapsulated(syntax, pixels)
        pixels, offsets, lengths = encapsulate_extended([frame])
        tables = {"ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": lengths}
        yield f"{syntax.name}, an extended table", _encapsulated(syntax, pixels, **tables)


def _odd(frame: bytes) -> bytes:
    """One fragment of an odd length, which the standard forbids (PS3.5 A.4)."""
    odd = frame + bytes(1 - len(frame) % 2)
    item = b"\xfe\xff\x00\xe0"
    return item + bytes(4) + item + len(odd).to_bytes(4, "little") + odd


def _encapsulated(syntax: uid.UID, pixels: bytes, **elements: object) -> Case:
    dataset = stored(chest(12), 12, **WIDE | elements)
    return Case(enclosed(syntax, dataset, pixels), WINDOW, twelve(**WIDE))


def _colours() -> Iterator[tuple[str, Case]]:
    """Gray as RGB, compressed: by dcmtk's tools, and as three components without a transform."""
    gray = chest(8)
    three = np.repeat(gray[..., None], 3, axis=-1)
    rgb = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0,
           "Rows": 64, "Columns": 48}  # fmt: skip
    plain, same = dicom_bytes(dicom_dataset(three, **rgb)), dicom_bytes(dicom_dataset(gray))
    for tool, *arguments in (
        ("dcmcrle",), ("dcmcjpeg", "+e1"), ("dcmcjpeg", "+eb", "+q", "100"),
        ("dcmcjpeg", "+eb", "+q", "100", "+s4"), ("dcmcjpeg", "+eb", "+q", "100", "+cr"),
        ("dcmcjpls", "+el"), ("dcmcjpls", "+el", "+is"), ("dcmcjpls", "+el", "+in"),
    ):  # fmt: skip
        file = by_dcmtk(tool, plain, *arguments)
        name = f"gray as RGB by {' '.join([tool, *arguments])}"
        seen = _first_samples(by_dcmtk("dcmdjpeg", file)) if "+eb" in arguments else same
        yield name, Case(file, RANGE, seen, "PS3.3 C.7.6.3.1.2")
    for syntax, frame, photometric in (
        (uid.JPEG2000Lossless, imagecodecs.jpeg2k_encode(three, codecformat="J2K", mct=False,
                                                         reversible=True), "RGB"),
        (uid.JPEG2000Lossless, imagecodecs.jpeg2k_encode(three, codecformat="J2K", mct=True,
                                                         reversible=True), "YBR_RCT"),
        (uid.HTJ2KLossless, imagecodecs.htj2k_encode(three, reversible=True), "YBR_RCT"),
        (JPEG_XLS[0], imagecodecs.jpegxl_encode(three, lossless=True), "RGB"),
    ):  # fmt: skip
        header = rgb | {"PhotometricInterpretation": photometric}
        file = enclosed(syntax, dicom_dataset(three, **header), encapsulate([frame]))
        name = f"{syntax.name}, gray as {photometric}"
        yield name, Case(file, RANGE, same, "PS3.3 C.7.6.3.1.2")


def _first_samples(data: bytes) -> bytes:
    """The monochrome file of the first sample of each pixel."""
    return dicom_bytes(dicom_dataset(dcmread(io.BytesIO(data)).pixel_array[..., 0].copy()))


def _signed() -> Iterator[tuple[str, Case]]:
    """Signed values of 12 bits, in frames that say so and in frames that hold the bits alone."""
    signed = chest(12, signed=True)
    bits = (signed & 0xFFF).astype(np.uint16)
    same = dicom_bytes(stored(signed, 12, **BELOW_ZERO))
    by_bits = (*SYNTAXES[:5], uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless,
               uid.JPEG2000Lossless, uid.HTJ2KLossless, JPEG_XLS[0])  # fmt: skip
    for syntax in by_bits:
        file = archived(syntax, bits, 12, PixelRepresentation=1, **BELOW_ZERO)
        yield f"{syntax.name}, bits of signed values", Case(file, WINDOW, same)
    for syntax in (*SYNTAXES[:5], uid.JPEG2000Lossless, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL):
        file = archived(syntax, signed, 12, **BELOW_ZERO)
        yield f"{syntax.name}, signed values", Case(file, WINDOW, same)


def _bits(syntax: uid.UID) -> tuple[int, ...]:
    """The depths that a transfer syntax can hold."""
    if syntax == uid.JPEGBaseline8Bit or syntax == JPEG_XLS[1]:
        return (8,)
    return (8, 12) if syntax == uid.JPEGExtended12Bit else (8, 12, 16)


def _uncompressed(syntax: uid.UID, bits: int, header: dict[str, object]) -> bytes:
    """The file with the pixels that a frame of this syntax decodes to."""
    pixels = chest(bits)
    if syntax in LOSSY:
        frame = ENCODERS[syntax](pixels, bits)
        if syntax in JPEG_XLS:
            pixels = imagecodecs.jpegxl_decode(frame)
        else:  # decoders of a lossy frame may differ by one value: the transform is in fractions
            pixels = imagecodecs.jpeg2k_decode(frame)  # reads HTJ2K too
    return dicom_bytes(stored(pixels.reshape(64, 48), bits, **header))


GROUPS = SHAPES | {
    "files of dcmtk": _made_by_dcmtk,
    "transfer syntaxes": _syntaxes,
    "fragments": _fragments,
    "signed values": _signed,
    "compressed colours": _colours,
}
"""Name → the files of this kind, each with its name."""
