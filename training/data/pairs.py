"""Image–report pairs in memory: what a small training run and every evaluation read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from service.arrays import UInt8
from service.files import written_atomically
from training.data.manifest import read_manifest
from training.data.study import ManifestStudy, write_studies

_ARRAYS = ("images", "heatmaps", "lesions")


class Levels(Protocol):
    """uint8[N,H,W] that can be indexed along its first axis: an array, or images in shards."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> UInt8: ...


class Pair(NamedTuple):
    """One image uint8[H,W] at the tower's input size, its study, and its maps uint8[H,W]."""

    image: UInt8
    study: ManifestStudy
    heatmap: UInt8 | None = None
    lesions: UInt8 | None = None


@dataclass(frozen=True)
class Pairs:
    """N images and their studies.

    images: uint8[N,H,W], at the tower's input size. heatmaps: uint8[N,H,W], where the readers
    looked; zeros for a study without gaze. lesions: uint8[N,H,W], the masks of phantoms. Heatmaps
    and lesions lie on the images; they are None if nobody asked for them.
    """

    images: Levels
    studies: tuple[ManifestStudy, ...]
    heatmaps: Levels | None = None
    lesions: Levels | None = None

    def __len__(self) -> int:
        return len(self.studies)

    @property
    def reports(self) -> list[str]:
        """The N reports."""
        return [study.report for study in self.studies]

    def at(self, rows: npt.NDArray[np.intp]) -> Self:
        """Returns the pairs of some rows."""
        heatmaps = None if self.heatmaps is None else self.heatmaps[rows]
        lesions = None if self.lesions is None else self.lesions[rows]
        studies = tuple(self.studies[row] for row in rows.tolist())
        return type(self)(self.images[rows], studies, heatmaps, lesions)

    def __deepcopy__(self, _: Any) -> Self:
        """Returns the pairs themselves, which a copied trainer may share: nothing changes them."""
        return self

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Self:
        """Returns single pairs stacked into arrays."""
        images, studies, heatmaps, lesions = zip(*pairs, strict=True)
        return cls(np.stack(images), studies, _stacked(heatmaps), _stacked(lesions))

    def save(self, folder: Path) -> None:
        """Writes the pairs to `folder`, whole or not at all. The first process to do so wins."""
        try:
            with written_atomically(folder) as draft:
                self._write(draft)
        except OSError:
            if not folder.exists():
                raise

    def _write(self, folder: Path) -> None:
        folder.mkdir()
        for name in _ARRAYS:
            if (array := getattr(self, name)) is not None:
                np.save(folder / f"{name}.npy", array)
        write_studies(folder / "studies.jsonl", self.studies)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        files = {name: folder / f"{name}.npy" for name in _ARRAYS}
        arrays = {name: np.load(path) for name, path in files.items() if path.exists()}
        return cls(studies=tuple(read_manifest(folder / "studies.jsonl")), **arrays)


def _stacked(maps: Sequence[UInt8 | None]) -> UInt8 | None:
    present = [each for each in maps if each is not None]
    return np.stack(present) if present else None
