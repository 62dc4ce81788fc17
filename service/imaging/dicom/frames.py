"""Finds the first frame of compressed pixels, and reads and checks its header (PS3.5 A.4)."""

from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from service.errors import ImageUndecodable
from service.imaging import jpeg
from service.imaging.dicom import jpeg2000, jpegxl
from service.imaging.dicom.elements import count
from service.imaging.dicom.frame_header import FrameHeader

_END = b"\xff\xd9"
"""The last marker of JPEG, JPEG-LS and JPEG 2000 alike."""
_PADDING = b"\0\xff"
"""Bytes that may follow it: one makes the length even, and some writers add more."""


def first_frame(dataset: Dataset) -> bytes:
    """Returns the compressed bytes of the first frame, from all fragments that hold it.

    Raises ValueError for pixels that are not encapsulated: those have a defined length.
    """
    if not dataset["PixelData"].is_undefined_length:
        raise ValueError("the pixels are not encapsulated")
    frame: bytes = next(generate_frames(dataset.PixelData, number_of_frames=1))
    return frame


def read_header(codec: str, dataset: Dataset, frame: bytes) -> FrameHeader:
    """Returns what a frame says of itself; one of RLE says nothing, so the dataset speaks for it.

    Raises ImageUndecodable for a JPEG that takes too much work, and anything at all for damage.
    """
    if codec == "rle":
        samples, bits = count(dataset, "SamplesPerPixel") or 1, count(dataset, "BitsAllocated") or 8
        return FrameHeader(codec, int(dataset.Rows), int(dataset.Columns), samples, bits)
    if codec in {"jpeg-2000", "htj2k"}:
        return jpeg2000.header(codec, frame)
    if codec == "jpeg-xl":
        return jpegxl.header(frame)
    jpeg.check_work(frame)
    rows, columns, samples = jpeg.shape(frame)
    depth, is_dct = jpeg.precision(frame), jpeg.is_dct(frame)
    levels = 3 if is_dct and depth == 8 and samples == 1 else 0
    return FrameHeader(codec, rows, columns, samples, depth, levels=levels, rgb=is_dct)


def check_frame(header: FrameHeader, frame: bytes, dataset: Dataset) -> None:
    """Raises ImageUndecodable for a frame that is not of the size in the header, or has no end.

    Raises ValueError or struct.error for HTJ2K that lost bytes elsewhere.

    It is called before a codec allocates memory. A codec alone often reports no missing end.
    """
    size = [header.rows, header.columns, header.samples]
    if size != [dataset.Rows, dataset.Columns, dataset.SamplesPerPixel]:
        raise ImageUndecodable(
            "The DICOM's compressed frame is damaged, or not of the size that the header's Rows, "
            "Columns and SamplesPerPixel declare. Export it uncompressed."
        )
    if header.codec not in {"rle", "jpeg-xl"} and not frame.rstrip(_PADDING).endswith(_END):
        raise ImageUndecodable(
            "The DICOM's compressed frame is truncated: its end marker is missing. Export it again."
        )
    if header.codec == "htj2k":
        jpeg2000.check_parts(frame)
