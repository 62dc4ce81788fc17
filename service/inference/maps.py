"""Makes the maps of one image: where the tower looked, and where each text points."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.arrays import FloatArray
from service.bundle.manifest import Manifest
from service.bundle.maps import MapKind, text_map
from service.bundle.preprocess import Rectangle, shown_part
from service.deadline import Deadline
from service.errors import MapUnavailable, MapUnvalidated, TextInvalid
from service.imaging.radiograph import Radiograph
from service.inference.encoder import Encoder
from service.inference.session import Looked


@dataclass(frozen=True, slots=True)
class ImageMaps:
    """The maps of one image, each float32[G, G], rows from top to bottom.

    radiograph: reduced to the side asked for. part: what every map covers, in the radiograph's
    `rows` and `columns`. attention: None if the bundle has none. texts: one map for each text.
    """

    radiograph: Radiograph
    part: Rectangle
    attention: FloatArray | None
    texts: tuple[FloatArray, ...]

    @property
    def grids(self) -> tuple[FloatArray, ...]:
        """All maps."""
        return self.texts if self.attention is None else (self.attention, *self.texts)


class Mapper:
    """Makes the maps that a bundle has. Thread-safe."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self.manifest = encoder, encoder.bundle.manifest

    def __call__(
        self, image: bytes, texts: Sequence[str], deadline: Deadline, side: int = 1
    ) -> ImageMaps:
        """Returns the maps of one image, which is decoded once. It neither asks nor fills a cache.

        side: pixels of the longer side that the radiograph keeps, at most.

        Raises TextUnavailable, MapUnavailable, TextInvalid, DeadlineExceeded, QueueFull, or the
        image's error.
        """
        check_available(self.manifest, texts)
        vectors = [text.vector for text in self._encoder.texts(texts, deadline)]
        maps = self.of_vectors(image, vectors, deadline, side)
        if not all(np.isfinite(grid).all() for grid in maps.grids):
            raise MapUnavailable(
                f"The image tower of bundle {self.manifest.name} gives numbers for this image of "
                "which no map can be made. Send another image, or report it to whom the bundle "
                "comes from."
            )
        return maps

    def of_vectors(
        self, image: bytes, vectors: Sequence[FloatArray], deadline: Deadline, side: int = 1
    ) -> ImageMaps:
        """Returns the same for texts of which the unit vectors, float32[D], are given.

        The bundle has the maps.
        """
        radiograph, looked = self._encoder.looked(image, deadline, side)
        size = (radiograph.columns, radiograph.rows)
        return ImageMaps(
            radiograph=radiograph,
            part=shown_part(size, self.manifest.image, self.manifest.patch_grid or (1, 1)),
            attention=looked.attention,
            texts=tuple(_of_text(looked, vector) for vector in vectors),
        )


def check_available(manifest: Manifest, texts: Sequence[str]) -> None:
    """Raises an error where a bundle has no map for a request with `texts`.

    It is TextUnavailable, MapUnavailable or TextInvalid.
    """
    if texts:
        manifest.require_text()
    if not manifest.maps:
        raise MapUnavailable(
            f"The image tower of bundle {manifest.name} does not show where it looks. Export a "
            "bundle from a vision transformer."
        )
    if texts and "text" not in manifest.maps:
        raise MapUnavailable(
            f"Bundle {manifest.name} maps where its image tower looks, but no text. Leave `text` "
            "out."
        )
    if not texts and "attention" not in manifest.maps:
        raise TextInvalid(
            f"Bundle {manifest.name} maps texts alone. Send a `text`, such as pleural effusion."
        )


def check_drawable(manifest: Manifest, kind: MapKind, *, accept_unvalidated: bool) -> None:
    """Raises MapUnavailable or MapUnvalidated for a map that is not to be drawn over an image."""
    if kind not in manifest.maps:
        raise MapUnavailable(
            f"Bundle {manifest.name} has no {kind} map. Draw its {manifest.maps[0]} map."
        )
    if (reason := caution(manifest, kind)) and not accept_unvalidated:
        raise MapUnvalidated(
            f"{reason} So it is not drawn over the radiograph, where it could mislead. Send "
            "accept=unvalidated to have it drawn all the same."
        )


def caution(manifest: Manifest, kind: MapKind) -> str | None:
    """Returns why a kind of map is not to be relied on; None if it was validated."""
    quality = manifest.map_quality.get(kind)
    if quality is None:
        return "Nobody has measured whether this map points at findings."
    if quality.validated:
        return None
    against = {"lesion": "lesions", "gaze": "where readers look"}[quality.against]
    return f"Measured against {against}, this map is no better than the middle of the image."


def _of_text(looked: Looked, vector: FloatArray) -> FloatArray:
    assert looked.patches is not None  # noqa: S101 — `check_available` saw to it
    return text_map(looked.patches, vector)
