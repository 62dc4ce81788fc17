"""Enters a scan of all images by numpy, which is always right."""

from pathlib import Path

import numpy as np

from tests.benchmarks.library.contestants import Contestant
from tests.benchmarks.library.data import DIMENSION, Data, Vectors
from tests.benchmarks.library.truth import K


class Exact(Contestant):
    """The images' vectors in a file, and in memory once it is open."""

    packages = ("numpy",)
    searches = 100

    def __init__(self, path: Path, data: Data, *, building: bool) -> None:
        self._file, self._data = path / "images", data
        if not building:
            self._images = np.fromfile(self._file, np.float32).reshape(-1, DIMENSION)

    def add(self, first: int, last: int) -> None:
        with self._file.open("ab") as file:
            self._data.vectors("image", first, last).tofile(file)

    def finish(self) -> None:
        pass

    def search(self, vector: Vectors, name: str, effort: int) -> list[int]:  # noqa: ARG002
        numbers: list[int] = np.argpartition(-(self._images @ vector), K)[:K].tolist()
        return numbers
