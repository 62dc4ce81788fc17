"""Scores the maps of one trained tower against what is true of its seed's phantoms."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from service.arrays import Bools, FloatArray
from service.bundle.maps import upsampled
from training.evaluate.encode import EmbeddedPairs, TorchEncoder
from training.evaluate.pointing import Pointing, centre_prior, pointing
from training.evaluate.zero_shot import Scores
from training.experiments.phantom_localisation.maps import maps
from training.experiments.phantom_localisation.truth import LABELS, Truth
from training.model.clip import Clip
from training.recipe import Recipe

LEVELS = np.arange(1, 20) / 20
"""Thresholds that are tried, between a map's minimum, 0, and maximum, 1."""
Floats = npt.NDArray[np.floating]
Numbers = Iterator[tuple[str, float]]


def measure(recipe: Recipe, clip: Clip, truth: Truth) -> dict[str, float]:
    """Returns every measure of PREREGISTRATION.md of one trained cell, by its name there."""
    encoder = TorchEncoder(clip)
    inside, tuning = truth.single.inside, truth.validation.inside
    of_test, of_validation = (maps(encoder, each) for each in (truth.single, truth.validation))
    found: dict[str, float] = {}
    for kind, grids in of_test.items():
        level = best_level(_scaled(of_validation[kind], tuning), tuning)
        found |= dict(of_map(f"map/{kind}", _scaled(grids, inside), inside, level))
    for name, prior in (
        ("centre", centre_prior(*inside.shape[1:])),
        ("mean_gaze", truth.mean_gaze(recipe)),
    ):
        level = best_level(np.broadcast_to(prior, tuning.shape), tuning)
        found |= dict(of_map(f"prior/{name}", np.broadcast_to(prior, inside.shape), inside, level))
    found |= dict(on_distractors(of_test["attention"], truth.distractors, inside))
    return found | dict(_aurocs(EmbeddedPairs(encoder, truth.test)))


def best_level(heats: Floats, inside: Bools) -> float:
    """Returns the level whose mean IoU is highest; the lowest such one."""
    return float(max(LEVELS, key=lambda level: iou(heats, inside, level).mean()))


def iou(heats: Floats, inside: Bools, level: float) -> Floats:
    """Returns the overlap of the pixels from a level with the lesions, over their union.

    heats: float[N,H,W], each scaled to 0…1 between its own minimum and maximum. A constant map has
    no pixel from any level. Returns float64[N].
    """
    low = heats.min(axis=(1, 2), keepdims=True)
    spread = heats.max(axis=(1, 2), keepdims=True) - low
    called = (spread > 0) & (heats - low >= level * spread)
    both, either = called & inside, called | inside
    return np.asarray(both.sum(axis=(1, 2)) / either.sum(axis=(1, 2)))


def of_map(name: str, heats: Floats, inside: Bools, level: float) -> Numbers:
    """Yields how maps float[N,H,W] fit lesions bool[N,H,W]: all, the small and the large ones.

    level: of IoU.
    """
    fits = np.array([pointing(*each) for each in zip(heats, inside, strict=True)])
    measured = dict(zip(Pointing._fields, fits.T, strict=True))
    areas = inside.mean(axis=(1, 2))
    middle = np.median(areas)
    for measure, values in (measured | {"iou": iou(heats, inside, level)}).items():
        yield f"{name}/{measure}", float(values.mean())
        for size, chosen in (("small", areas < middle), ("large", areas > middle)):
            if chosen.any():
                yield f"{name}/{measure}/{size}", float(values[chosen].mean())


def on_distractors(grids: FloatArray, distractors: Bools, inside: Bools) -> Numbers:
    """Yields how much attention float[N,G,G] lies on distractors, off the lesion, where any are.

    distractors, inside: bool[N,H,W].
    """
    off = ~inside
    there = distractors & off
    some = there.any(axis=(1, 2))
    if not some.any():
        return
    there, off = there[some], off[some]
    mass, heats = _spread(grids[some], off), _scaled(grids[some], off)
    share, area = (mass * there).sum(), there.sum() / there[0].size
    share_off, area_off = (mass * off).sum(), off.sum() / off[0].size
    points = [pointing(*each).pointing_game for each in zip(heats, there, strict=True)]
    yield "distractor/attention", float(share / len(there))
    yield "distractor/area", float(area / len(there))
    yield "distractor/density", float(share / area)
    yield "distractor/density_off_lesion", float((share / share_off) / (area / area_off))
    yield "distractor/pointing_game", float(np.mean(points))


def _aurocs(test: EmbeddedPairs) -> Numbers:
    scores = Scores.of(test, LABELS)
    columns = [at for at in range(len(LABELS)) if scores.findings.answered(at)]
    for name, values in (("present", scores.present), ("margin", scores.margin)):
        each = [roc_auc_score(scores.findings.there[:, at], values[:, at]) for at in columns]
        yield f"auroc_{name}/macro", float(np.mean(each))


def _scaled(grids: FloatArray, images: Bools) -> Floats:
    """Returns grids float[N,G,G] as maps float32[N,H,W] on images of this shape."""
    height, width = images.shape[1:]
    return np.stack([upsampled(grid, height, width) for grid in grids])


def _spread(grids: FloatArray, images: Bools) -> Floats:
    """Returns grids float[N,G,G] with each patch's mass spread evenly over its pixels[N,H,W]."""
    down, across = (
        side // patches for side, patches in zip(images.shape[1:], grids.shape[1:], strict=True)
    )
    tiles = np.ones((1, down, across)) / (down * across)
    return np.asarray(np.kron(grids, tiles))
