"""An encoder of two dimensions, and studies that it can tell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from service.arrays import Bools
from service.bundle.preprocess import ImageSpec
from service.bundle.scoring import Scorer
from training.data.pairs import Pairs
from training.data.study import ManifestStudy
from training.evaluate.encode import EmbeddedPairs, Maps

SIDE = 16


@dataclass(frozen=True)
class PlaneEncoder:
    """An image is its first two pixels less 128; a text, its entry in `directions`.

    Its patches are those of a 2×2 grid: each quarter's first two pixels less 128.
    """

    directions: dict[str, tuple[float, float]] = field(default_factory=dict)
    image_spec: ImageSpec = ImageSpec(height=SIDE, width=SIDE)
    scorer: Scorer = Scorer("softmax", 10.0, 0.0)
    has_patches: bool = True

    def images(self, pixels):
        return unit(pixels[:, 0, :2].astype(np.float32) - 128)

    def texts(self, texts):
        return unit(np.float32([self.directions[text] for text in texts]))

    @property
    def patch_kind(self):
        return "last_token" if self.has_patches else None

    def maps(self, pixels):
        if not self.has_patches:
            return Maps(None, None)
        half = SIDE // 2
        corners = [
            pixels[:, down, across : across + 2] for down in (0, half) for across in (0, half)
        ]
        patches = unit(np.stack(corners, axis=1).astype(np.float32) - 128)
        return Maps(None, patches.reshape(-1, 2, 2, 2))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def make_pairs(vectors, findings, *, reports=None, patients=None, **maps) -> Pairs:
    """Images that the encoder reads as `vectors`, [N,2] of whole numbers."""
    pixels = np.full((len(vectors), SIDE, SIDE), 129, np.uint8)
    pixels[:, 0, :2] = np.asarray(vectors) + 128
    count = len(vectors)
    studies = tuple(
        ManifestStudy(str(row), patient, "test", (f"{row}.png",), report, findings=tuple(has))
        for row, patient, report, has in zip(
            range(count),
            patients or [f"patient {row}" for row in range(count)],
            reports or [""] * count,
            findings,
            strict=True,
        )
    )
    return Pairs(pixels, studies, **maps)


def has_nodule(pairs: Pairs) -> Bools:
    """bool[N]: whether each study has a nodule."""
    return np.array(["nodule" in study.findings for study in pairs.studies])


@pytest.fixture
def pairs() -> Callable[..., Pairs]:
    return make_pairs


@pytest.fixture
def encoder() -> Callable[..., PlaneEncoder]:
    return PlaneEncoder


@pytest.fixture
def noisy() -> Callable[..., Pairs]:
    """Images whose first coordinate leans towards the nodule where there is one."""

    def noisy(seed: int = 0, count: int = 300, lean: int = 20) -> Pairs:
        rng = np.random.default_rng(seed)
        truth = rng.random(count) < 0.3
        x = np.where(truth, lean, -lean) + rng.normal(0, 30, count)
        vectors = np.stack([np.clip(x, -120, 120), np.full(count, 40)], axis=1).astype(int)
        return make_pairs(vectors, [["nodule"] if there else [] for there in truth])

    return noisy


@pytest.fixture
def embedded() -> Callable[[Pairs, dict[str, Sequence[float]]], EmbeddedPairs]:
    def embedded(pairs, directions, **options) -> EmbeddedPairs:
        return EmbeddedPairs(PlaneEncoder(directions, **options), pairs)

    return embedded
