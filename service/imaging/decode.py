"""Bytes → Radiograph: sniff the real type, cap the pixels, then decode PNG, JPEG or DICOM."""

import io
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from service.bundle.preprocess import ImageSpec, spare
from service.errors import (
    EclipError,
    ImageNotARadiograph,
    ImageTooLarge,
    ImageUndecodable,
    ImageUnsupported,
)
from service.imaging import jpeg, png
from service.imaging.dicom.decode import decode_dicom
from service.imaging.dicom.header import looks_like_dicom
from service.imaging.libraries import decoding
from service.imaging.radiograph import Format, Pixels, Radiograph, Window

MIN_SIDE = 32
MAX_ASPECT = 10
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_STRIP = 256
_TURNED = frozenset({5, 6, 7, 8})
_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L"})


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Bounds on one image, checked before any pixel is decoded."""

    max_bytes: int = 48 * 2**20
    max_pixels: int = 64 * 10**6

    def check_bytes(self, data: bytes) -> None:
        """Raise ImageTooLarge for a file over the cap."""
        if len(data) > self.max_bytes:
            raise ImageTooLarge(
                f"The image has {len(data)} bytes, over the cap of {self.max_bytes}. "
                "Compress it or raise ECLIP_MAX_IMAGE_BYTES."
            )

    def check_shape(self, rows: int, columns: int) -> None:
        """Raise ImageTooLarge or ImageNotARadiograph for what the header declares."""
        if rows * columns > self.max_pixels:
            raise ImageTooLarge(
                f"The image declares {rows}×{columns} pixels, over the cap of "
                f"{self.max_pixels}. Downsample it or raise ECLIP_MAX_IMAGE_PIXELS."
            )
        if max(rows, columns) > MAX_ASPECT * min(rows, columns) > 0:
            raise ImageNotARadiograph(
                f"The image declares {rows}×{columns} pixels; no radiograph is more than "
                f"{MAX_ASPECT} times as long as wide. Crop it to the exposed field."
            )


def decode(data: bytes, limits: ImageLimits, spec: ImageSpec | None = None) -> Radiograph:
    """Decode one image of any supported type, no larger than `spec` has use for.

    Raises ImageTooLarge, ImageUnsupported, ImageUndecodable or ImageNotARadiograph.
    """
    limits.check_bytes(data)
    kind = sniff(data)
    with decoding:
        if kind == "dicom":
            radiograph = decode_dicom(data, limits.check_shape)
        else:
            radiograph = _decode_picture(data, kind, limits, spec)
    _check_content(radiograph)
    radiograph.pixels.flags.writeable = False
    return radiograph


def sniff(data: bytes) -> Format:
    """The type that the bytes themselves declare; raises ImageUndecodable or ImageUnsupported."""
    if not data:
        raise ImageUndecodable("The image is empty (0 bytes). Send the file's content.")
    if data.startswith(_PNG):
        return "png"
    if data.startswith(_JPEG):
        return "jpeg"
    if looks_like_dicom(data):
        return "dicom"
    raise ImageUnsupported("The bytes are neither PNG, JPEG nor DICOM. Convert the image to one.")


def _decode_picture(
    data: bytes, kind: Format, limits: ImageLimits, spec: ImageSpec | None
) -> Radiograph:
    if kind == "png":
        limits.check_shape(*png.size(data))
        png.check_work(data)
    else:
        jpeg.check_work(data)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as image:
            limits.check_shape(image.height, image.width)
            if getattr(image, "n_frames", 1) > 1:
                raise ImageUnsupported("The file has several frames. Send one image a file.")
            columns, rows = _upright(image)
            if spec is not None:
                _shrink(image, spare((columns, rows), spec))
            ImageOps.exif_transpose(image, in_place=True)
            pixels, window = _to_gray(image)
    except EclipError:
        raise
    except Exception as error:  # damaged metadata makes Pillow raise anything
        reason = type(error).__name__
    else:
        return Radiograph(pixels=pixels, rows=rows, columns=columns, format=kind, window=window)
    raise ImageUndecodable(f"The {kind.upper()} is damaged or truncated ({reason}). Send it again.")


def _upright(image: Image.Image) -> tuple[int, int]:
    """Width and height, once turned as EXIF says."""
    turned = image.getexif().get(ExifTags.Base.Orientation) in _TURNED
    return (image.height, image.width) if turned else image.size


def _shrink(image: Image.Image, factor: float) -> None:
    """Have a JPEG decoded at a half, a quarter or an eighth, where `factor` allows it."""
    if factor >= 2:
        image.draft(image.mode, (math.ceil(image.width / factor), math.ceil(image.height / factor)))


def _to_gray(image: Image.Image) -> tuple[Pixels, Window]:
    """Deep images are stretched from their value range; others are Pillow's 8-bit luma."""
    if image.mode not in _DEEP:
        return np.array(image.convert("L")), Window(0, 255, "stored-range")
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    return stretch(values, low, high), Window(low, high, "value-range")


def stretch(values: npt.NDArray[np.integer], low: int, high: int) -> npt.NDArray[np.uint16]:
    """Map low…high onto the whole of uint16, strip by strip: float64 is four times as large."""
    levels = np.empty(values.shape, np.uint16)
    for top in range(0, len(values), _STRIP):
        strip = values[top : top + _STRIP].astype(np.int64)
        levels[top : top + _STRIP] = np.rint((strip - low) * (65535 / max(high - low, 1)))
    return levels


def _check_content(radiograph: Radiograph) -> None:
    rows, columns, pixels = radiograph.rows, radiograph.columns, radiograph.pixels
    if min(rows, columns) < MIN_SIDE:
        raise ImageNotARadiograph(
            f"The image is {rows}×{columns}; a radiograph has at least {MIN_SIDE} pixels a side."
        )
    if pixels.min() == pixels.max():
        raise ImageNotARadiograph("Every pixel has the same value; send an exposed radiograph.")
