"""Reads a manifest's studies from disk into pairs."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from service.arrays import UInt8
from service.bundle.preprocess import ImageSpec
from service.errors import EclipError
from service.imaging.decode import ImageLimits, decode
from service.studies.images import read_image
from training.data.gaze import Sigma, aligned_heatmap
from training.data.pairs import Pair, Pairs
from training.data.study import DataError, ManifestStudy, Split

_LOG = logging.getLogger(__name__)


def usable(studies: Sequence[ManifestStudy], split: Split) -> list[ManifestStudy]:
    """Returns the studies that have an image and a report, and logs how many have not.

    Raises DataError if none of them has both.
    """
    kept = [study for study in studies if study.images and study.report]
    if left_out := len(studies) - len(kept):
        _LOG.info("%s: %d studies without an image or a report are left out", split, left_out)
    if studies and not kept:
        raise DataError(
            f"no study of the {split} split has both an image and a report, and training needs both"
        )
    return kept


class ImageUnreadable(DataError):
    """An image that is missing or damaged, or that the service would refuse.

    image: its path in the manifest. reason: why, without the path.
    """

    def __init__(self, study: ManifestStudy, reason: str) -> None:
        self.image, self.reason = study.images[0], reason
        super().__init__(
            f"cannot read {self.image} of study {study.study_id!r}: {reason} Replace the file, or "
            "take the study out of the manifest. `eclip-train shards` leaves out such images"
        )


def study_pairs(
    studies: Iterable[ManifestStudy], place: Path, spec: ImageSpec, sigma: Sigma | None = None
) -> Pairs:
    """Returns the first image of each study that has one, decoded as the service decodes it.

    place: the folder or tar of the images. Heatmaps are drawn where a `sigma` is given. Raises
    DataError if no study has an image, ImageUnreadable for the first image that cannot be read.
    """
    imaged = [study for study in studies if study.images]
    if not imaged:
        raise DataError(
            "this split holds no study with an image; check the manifest and its fractions"
        )
    return Pairs.of(read_pair(place, study, spec, sigma) for study in imaged)


def read_pair(place: Path, study: ManifestStudy, spec: ImageSpec, sigma: Sigma | None) -> Pair:
    """Returns a study's first image and, where a `sigma` is given, its readers' heatmap.

    Raises ImageUnreadable, with the study, its file and the reason.
    """
    try:
        image = decode(read_image(place, study.images[0]), ImageLimits(), spec)
    except EclipError as error:
        raise ImageUnreadable(study, error.detail) from error
    except OSError as error:
        raise ImageUnreadable(study, f"{error.strerror or error}.") from error
    shape = (image.rows, image.columns)
    heatmap = None if sigma is None else heatmap_on(study, shape, spec, sigma)
    return Pair(image.prepared(spec), study, heatmap)


def heatmap_on(
    study: ManifestStudy, shape: tuple[int, ...], spec: ImageSpec, sigma: Sigma
) -> UInt8:
    """Returns where readers looked, uint8[H,W], on the preprocessed image.

    shape: rows and columns of the image before preprocessing.
    """
    heatmap = aligned_heatmap(study.gaze, shape[0], shape[1], spec, sigma)
    return np.rint(255 * heatmap).astype(np.uint8)
