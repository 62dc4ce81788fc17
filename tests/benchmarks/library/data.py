"""Makes the studies that every contestant stores, in files that all of them read.

A study has one image, one report and one vector (float32[512], unit length) for each. Everything
follows from the number of the study and a seed.

- Vectors are clustered as embeddings of radiographs are: a thousand clusters, two images of one
  cluster at a cosine of about .8. Reports lie apart from images, as a CLIP's do: the middle of a
  cluster's reports is turned towards one direction that all reports share. A report is at a cosine
  of about .4 with the images of its cluster, and of 0 with others.
- 2 % of the studies repeat the image vector of another one: half of them exactly, as an image that
  was sent twice, half at a distance of about .001, as one that was compressed twice.
- Finding, view and source are independent of the vectors, so a filter leaves gaps in every cluster.
- Patients are drawn at random, half as many as there are studies.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DIMENSION, CLUSTERS, WITHIN, TURNED = 512, 1000, 0.5, 0.5
REPEATED, SHIFT = 0.02, 1e-3
QUERIES, WARMING = 1000, 200
"""Searches that are counted, and searches before them that are not."""
LOADED = 20_000
"""Studies that are put while others are searched; no more than the library has."""
FINDINGS = tuple(f"finding {number}" for number in range(10))
VIEWS = ("PA", "AP")
SOURCES = ("hospital", "outpatient clinic")
RARE = 100
"""One study of so many is from the second source."""
FILTERS = ("all", "a finding", "a view", "a source")
"""A finding is that of a tenth of the studies, a view of half, a source of a hundredth."""
SENTENCES = (
    ("The lungs are clear.", "There is a patchy opacity in the left lower lobe.",
     "Both lungs are hyperinflated.", "A small nodule projects over the right upper lobe.",
     "Streaky opacities at the bases suggest atelectasis.", "The interstitium is prominent."),
    ("The heart is of normal size.", "The heart is mildly enlarged.",
     "The cardiac silhouette is unchanged.", "The aorta is tortuous."),
    ("There is no pleural effusion.", "A small right pleural effusion is present.",
     "The left costophrenic angle is blunted.", "There is no pneumothorax."),
    ("The bones are intact.", "There are degenerative changes of the spine.",
     "An old fracture of the left sixth rib has healed.", "Median sternotomy wires are in place."),
    ("No acute disease.", "Findings may represent pneumonia.", "Stable cardiomegaly.",
     "Mild congestion.", "No change since the previous study."),
)  # fmt: skip
"""Sentences of a report: one of each row, the last row for the impression."""
_CHUNK = 10_000

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class Data:
    """The files of one size: `size` studies that are stored, then `loaded` that come later."""

    folder: Path
    size: int

    @property
    def loaded(self) -> int:
        """Returns the number of studies that come later."""
        return min(self.size, LOADED)

    @property
    def total(self) -> int:
        """Returns the number of all studies."""
        return self.size + self.loaded

    @cached_property
    def facts(self) -> dict[str, Numbers]:
        """Draws what is known of each study, but for its vectors: name → uint[total]."""
        rng = np.random.default_rng(1)
        options = {"finding": len(FINDINGS), "view": len(VIEWS), "rare": RARE}
        options |= {f"sentence {row}": len(each) for row, each in enumerate(SENTENCES)}
        facts = {name: rng.integers(count, size=self.total) for name, count in options.items()}
        facts = {name: drawn.astype(np.uint8) for name, drawn in facts.items()}
        return {"patient": rng.integers(max(self.size // 2, 1), size=self.total), **facts}

    @cached_property
    def asked(self) -> Vectors:
        """Returns the image vectors that are searched for, float32[WARMING + QUERIES, 512]."""
        rng = np.random.default_rng(2)
        clusters = rng.integers(CLUSTERS, size=WARMING + QUERIES)
        return clustered(rng, centres("image")[clusters])

    def make(self) -> None:
        """Writes the vectors of all studies."""
        files = [
            np.lib.format.open_memmap(self._file(kind), "w+", np.float32, (self.total, DIMENSION))
            for kind in ("image", "report")
        ]
        spaces = centres("image"), centres("report")
        for first in range(0, self.total, _CHUNK):
            rng = np.random.default_rng((3, first))
            count = min(_CHUNK, self.total - first)
            clusters = rng.integers(CLUSTERS, size=count)
            for file, space in zip(files, spaces, strict=True):
                file[first : first + count] = clustered(rng, space[clusters])
            repeat(rng, files[0][first : first + count])

    def vectors(self, kind: str, first: int, last: int) -> Vectors:
        """Reads the vectors of some studies, of images or of reports, into memory."""
        return np.array(self.mapped(kind)[first:last])

    def mapped(self, kind: str) -> Vectors:
        """Returns the vectors of all studies as they lie on the disk."""
        vectors: Vectors = np.load(self._file(kind), mmap_mode="r")
        return vectors

    def admits(self, name: str) -> npt.NDArray[np.bool_]:
        """Tells which studies a filter admits: bool[total]."""
        fact = {"a finding": "finding", "a view": "view", "a source": "rare"}.get(name)
        admitted: npt.NDArray[np.bool_] = (
            np.ones(self.total, bool) if fact is None else self.facts[fact] == 0
        )
        return admitted

    def _file(self, kind: str) -> Path:
        return self.folder / f"{kind}.npy"


def source(facts: dict[str, Numbers], number: int) -> str:
    """Returns where a study comes from."""
    return SOURCES[1 if facts["rare"][number] == 0 else 0]


def report(facts: dict[str, Numbers], number: int) -> str:
    """Returns the text of a study's report."""
    *findings, impression = (
        options[facts[f"sentence {row}"][number]] for row, options in enumerate(SENTENCES)
    )
    return f"FINDINGS: {' '.join(findings)} IMPRESSION: {impression}"


def centres(kind: str) -> Vectors:
    """Returns the middles of the clusters of images or of reports."""
    drawn = np.random.default_rng(4).standard_normal((CLUSTERS + 1, DIMENSION), np.float32)
    *images, shared = unit(drawn)
    return np.stack(images) if kind == "image" else unit(shared + TURNED * np.stack(images))


def clustered(rng: np.random.Generator, middles: Vectors) -> Vectors:
    """Returns a unit vector near each middle, at a distance of about `WITHIN`."""
    return unit(middles + WITHIN * unit(rng.standard_normal(middles.shape, np.float32)))


def repeat(rng: np.random.Generator, vectors: Vectors) -> None:
    """Writes copies of other rows over some of the rows, half of them with a little noise."""
    chosen = rng.permutation(len(vectors))[: 2 * round(REPEATED * len(vectors))]
    copies, originals = np.array_split(chosen, 2)
    vectors[copies] = vectors[originals]
    near = copies[::2]
    noise = unit(rng.standard_normal((len(near), DIMENSION), np.float32))
    vectors[near] = unit(vectors[near] + SHIFT * noise)


def unit(vectors: Vectors) -> Vectors:
    """Returns the rows scaled to unit length."""
    scaled: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def ranges(first: int, last: int, step: int) -> Iterator[tuple[int, int]]:
    """Yields the bounds of consecutive pieces."""
    for start in range(first, last, step):
        yield start, min(start + step, last)
