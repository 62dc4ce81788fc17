"""Shrinks a DICOM's image to the pixels that the model needs, and says where those lie.

The file's words are decoded small where its codec can do that (JPEG 2000, HTJ2K, 8-bit JPEG).
Whatever is left of the factor, blocks of display values become their mean. So a window, a LUT and
padding act on each stored pixel, as they do without a reducing gap.
"""

from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
)

from service.bundle.preprocess import Spans
from service.imaging.dicom.attributes import is_colour
from service.imaging.dicom.elements import is_given

TOLERANCE, LEAST_COSINE = 1.0, 0.999
"""Gray levels of 256 by which the model's input of a DICOM differs in the mean, at most, if a
bundle has a reducing gap of 2 or more; and the least cosine of the two embeddings. Measured for
each transfer syntax by `python -m tests.benchmarks.reducing_gap`."""
_WAVELETS = frozenset({JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL})


def may_suffice(dataset: Dataset) -> bool:
    """Decides by the header whether words of a smaller copy may be enough.

    The range of values, which is shown without a VOI LUT or window, is that of all words. So are
    colour's. The words that occur decide how a modality LUT is read.
    """
    named = any(is_given(dataset, each) for each in ("VOILUTSequence", "WindowCenter"))
    return named and not is_given(dataset, "ModalityLUTSequence") and not is_colour(dataset)


def spans(
    pixels: tuple[int, ...], stored: tuple[int, int], dataset: Dataset, shrunk: int, blocks: int
) -> Spans:
    """Returns between which fractions of the pixels' rows and columns the stored image lies.

    pixels, stored: rows and columns of both. shrunk: by how much the codec shrank each side;
    blocks: then, the sides of the blocks of which the pixels are means.

    A block's mean lies in the middle of its block. A wavelet's low values lie on the first of the
    pixels that they replace (ITU-T T.800 F.3).
    """
    factor = shrunk * blocks
    wavelet = shrunk > 1 and dataset.file_meta.TransferSyntaxUID in _WAVELETS
    first = shrunk * (blocks - 1) / 2 + 0.5 if wavelet else factor / 2
    start = 0.5 - first / factor
    down, across = (
        (start / side, (start + whole / factor) / side)
        for side, whole in zip(pixels, stored, strict=True)
    )
    return down, across
