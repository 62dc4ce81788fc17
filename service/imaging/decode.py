"""Decodes the bytes of a PNG, JPEG or DICOM file into a Radiograph.

The bytes decide the type, never a file name. Size and pixels are limited before any is decoded.
"""

import io
import math
from dataclasses import dataclass, replace

from PIL import ExifTags, Image, ImageOps

from service.bundle.preprocess import ImageSpec, Spans, Whole, shrink_factor
from service.errors import (
    EclipError,
    ImageNotARadiograph,
    ImageTooLarge,
    ImageUndecodable,
    ImageUnsupported,
)
from service.imaging import aspect, content, jpeg, png
from service.imaging.dicom.decode import Factor, decode_dicom
from service.imaging.dicom.header import looks_like_dicom
from service.imaging.footprint import picture_bytes
from service.imaging.gray import to_gray
from service.imaging.libraries import decoding
from service.imaging.radiograph import Extent, Format, Radiograph, Window
from service.memory import Reserve, require, short

MIN_SIDE = 32
"""Pixels on the shorter side of the smallest radiograph."""
MAX_ASPECT = 10
"""Longest side divided by the shortest. Resized, a longer strip would take gigabytes."""
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_QUARTER_TURNS = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap rows and columns."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits on one image: bytes of the file, and pixels (rows × columns) of the stored image.

    Both are checked before any pixel is decoded. The limit of pixels replaces Pillow's own.
    """

    max_bytes: int = 48 * 2**20
    max_pixels: int = 64 * 10**6

    def check_bytes(self, data: bytes) -> None:
        """Raises ImageTooLarge for a file over the limit."""
        if len(data) > self.max_bytes:
            raise ImageTooLarge(
                f"The image has {len(data)} bytes, over the limit of {self.max_bytes}. "
                "Compress it or raise ECLIP_MAX_IMAGE_BYTES."
            )

    def check_shape(self, rows: int, columns: int) -> None:
        """Raises ImageTooLarge or ImageNotARadiograph for rows and columns in the header."""
        if rows * columns > self.max_pixels:
            raise ImageTooLarge(
                f"The image declares {rows}×{columns} pixels, over the limit of "
                f"{self.max_pixels}. Downsample it or raise ECLIP_MAX_IMAGE_PIXELS."
            )
        if max(rows, columns) > MAX_ASPECT * min(rows, columns) > 0:
            raise ImageNotARadiograph(
                f"The image declares {rows}×{columns} pixels, but no radiograph is more than "
                f"{MAX_ASPECT} times as long as wide. Crop it to the exposed field."
            )


def _unbounded(_: int) -> None:
    """Lets an image take as much memory as it needs."""


def decode(
    data: bytes,
    limits: ImageLimits,
    spec: ImageSpec | None = None,
    reserve: Reserve = _unbounded,
    side: int = 1,
    *,
    windowed: bool = True,
) -> Radiograph:
    """Decodes one image of any supported type. Thread-safe.

    spec: the tower's input. If it has a reducing gap, a JPEG or DICOM is decoded smaller, but never
    smaller than the gap allows. side: pixels of the longer side that something else needs; such an
    image keeps them, if the file has them. reserve: called before any pixel is decoded, with the
    most bytes of memory that it can take. windowed: false for pixels over the whole range of the
    file's values, which a viewer may window; `extent` then says how the file shows them.

    Raises ImageTooLarge, ImageUnsupported, ImageUndecodable, ImageNotARadiograph, MemoryShort, or
    what `reserve` raises.
    """
    limits.check_bytes(data)
    kind = sniff(data)
    needed = 0

    def factor(rows: int, columns: int) -> float:
        return 1 if spec is None else shrink_factor((columns, rows), spec, side)

    def reserve_all(size: int) -> None:
        nonlocal needed
        needed = size
        require(size)
        reserve(size)

    try:
        with decoding:
            if kind == "dicom":
                radiograph = decode_dicom(
                    data, limits.check_shape, reserve_all, factor, windowed=windowed
                )
            else:
                radiograph = _decode_picture(data, kind, limits, factor, reserve_all)
                if not windowed:
                    radiograph = replace(radiograph, extent=_extent(radiograph.window))
    except MemoryError:
        raise short() from None
    except ImageUndecodable:
        require(needed)  # where memory is short, some decoders call a file damaged
        raise
    _check_content(radiograph)
    doubts = content.grey_doubts(radiograph.pixels, names_chest=radiograph.names_chest)
    radiograph = radiograph.doubted(doubts)
    radiograph.pixels.flags.writeable = False
    return radiograph


def _extent(window: Window) -> Extent:
    """Of a picture, which is never windowed: the range of its values is what is shown."""
    return Extent(window.low, window.high, window)


def sniff(data: bytes) -> Format:
    """Returns the type that the first bytes declare.

    Raises ImageUndecodable for an empty file, ImageUnsupported for any other type.
    """
    if not data:
        raise ImageUndecodable("The image is empty (0 bytes). Send the file's content.")
    if data.startswith(_PNG):
        return "png"
    if data.startswith(_JPEG):
        return "jpeg"
    if looks_like_dicom(data):
        return "dicom"
    raise ImageUnsupported(
        "The bytes are neither PNG, JPEG nor DICOM. Convert the image to one of them."
    )


def _decode_picture(
    data: bytes, kind: Format, limits: ImageLimits, factor: Factor, reserve: Reserve
) -> Radiograph:
    if kind == "png":
        limits.check_shape(*png.size(data))
        png.check_work(data)
    else:
        jpeg.check_work(data)
        jpeg.check_readable(data)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as image:
            limits.check_shape(image.height, image.width)
            if getattr(image, "n_frames", 1) > 1:
                raise ImageUnsupported(
                    "The file has several frames. Send each frame as a file of its own."
                )
            pixels = min(_square_pixels(image), limits.max_pixels)
            reserve(picture_bytes(image, pixels, deep_colour=png.has_lower_bytes(image)))
            return _radiograph(image, data, kind, limits, factor)
    except (EclipError, MemoryError):
        raise
    except Exception as error:  # damaged metadata can make Pillow raise anything
        reason = type(error).__name__
    raise ImageUndecodable(f"The {kind.upper()} is damaged or truncated ({reason}). Send it again.")


def _radiograph(
    image: Image.Image, data: bytes, kind: Format, limits: ImageLimits, factor: Factor
) -> Radiograph:
    columns, rows, ratio = _upright(image)
    rows, columns = aspect.square_shape(rows, columns, ratio)
    limits.check_shape(rows, columns)
    spans = _shrink(image, factor(rows, columns))
    lower = None
    if kind == "png":
        png.check_complete(data, image)
        png.scale_transparency(data, image)
        lower = png.lower_bytes(data)
    ImageOps.exif_transpose(image, in_place=True)
    pixels, window, corrections = to_gray(image, lower)
    if ratio != 1:
        corrections = (*corrections, aspect.correction(ratio))
    return Radiograph(
        pixels=aspect.squared(pixels, ratio),
        rows=rows,
        columns=columns,
        whole=spans and Whole(rows, columns, spans),
        format=kind,
        window=window,
        corrections=corrections,
        doubts=content.colour_doubts(image),
    )


def _upright(image: Image.Image) -> tuple[int, int, float]:
    """Width, height, and a pixel's height divided by its width, after the turn of EXIF."""
    across, down = _densities(image)
    ratio = aspect.pixel_ratio(across, down, "density")
    if image.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS:
        return image.height, image.width, 1 / ratio
    return image.width, image.height, ratio


def _square_pixels(image: Image.Image) -> int:
    """Pixels once they are square, whichever way the image is turned. It loads no pixels."""
    ratio = aspect.pixel_ratio(*_densities(image), "density")
    return math.ceil(image.width * image.height * max(ratio, 1 / ratio))


def _densities(image: Image.Image) -> tuple[float, float]:
    """Pixels per unit of length, across and down: of PNG's pHYs, or of JFIF's header."""
    names = ("aspect", "dpi") if image.format == "PNG" else ("jfif_density",)
    known = [image.info[name] for name in names if name in image.info]
    return known[0] if known else (1, 1)


def _shrink(image: Image.Image, factor: float) -> Spans | None:
    """Lets a JPEG be decoded at a half, a quarter or an eighth, as far as `factor` allows.

    Returns where the image then lies in its pixels, of which the last may stand for fewer than the
    others; None for an image that is not smaller, and for one that will be turned.
    """
    if factor < 2:
        return None
    least = (math.ceil(image.width / factor), math.ceil(image.height / factor))
    drafted = image.draft(image.mode, least)
    if drafted is None or image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        return None
    *_, right, bottom = drafted[1]
    return (0, bottom / image.height), (0, right / image.width)


def _check_content(radiograph: Radiograph) -> None:
    rows, columns, pixels = radiograph.rows, radiograph.columns, radiograph.pixels
    if min(rows, columns) < MIN_SIDE:
        raise ImageNotARadiograph(
            f"The image is {rows}×{columns} pixels, but a radiograph has at least {MIN_SIDE} on "
            "each side. Send the original, not a thumbnail."
        )
    if pixels.min() == pixels.max():
        raise ImageNotARadiograph("Every pixel has the same value. Send an exposed radiograph.")
