"""Scores the maps of one trained tower against what is true of its seed's phantoms."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from service.arrays import Bools, FloatArray
from training.evaluate.attention import Pointing, centre_prior, pointing, upsampled
from training.evaluate.encode import EmbeddedPairs, TorchEncoder
from training.evaluate.zero_shot import Scores
from training.experiments.phantom_localisation.maps import maps
from training.experiments.phantom_localisation.truth import LABELS, Single, Truth
from training.model.clip import Clip
from training.recipe import Recipe

LEVELS = np.arange(1, 20) / 20
"""Thresholds that are tried, between a map's minimum, 0, and maximum, 1."""
Floats = npt.NDArray[np.floating]
Numbers = Iterator[tuple[str, float]]


def measure(recipe: Recipe, clip: Clip, truth: Truth) -> dict[str, float]:
    """Returns every measure of PREREGISTRATION.md of one trained cell, by its name there."""
    encoder = TorchEncoder(clip)
    test, validation = truth.single, truth.validation
    tuned = maps(encoder, validation)
    found: dict[str, float] = {}
    for kind, grids in maps(encoder, test).items():
        found |= _of_map(f"map/{kind}/lesion", _scaled(grids, test), test)
        level = best_level(_scaled(tuned[kind], validation), validation.inside)
        ious = iou(_scaled(grids, test), test.inside, level)
        found[f"map/{kind}/lesion/iou"] = float(ious.mean())
        if kind == "attention":
            found |= dict(_on_distractors(grids, test, truth.distractors))
    for name, prior in (
        ("centre_prior", centre_prior(*test.inside.shape[1:])),
        ("mean_gaze_prior", truth.mean_gaze(recipe)),
    ):
        found |= _of_map(f"prior/{name}/lesion", np.broadcast_to(prior, test.inside.shape), test)
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


def _of_map(name: str, heats: Floats, single: Single) -> dict[str, float]:
    """Returns the measures of pointing, of all lesions and of the small and large ones."""
    scores = np.array([pointing(*each) for each in zip(heats, single.inside, strict=True)])
    areas = single.inside.mean(axis=(1, 2))
    sizes = {
        "": np.ones(len(areas), bool),
        "/small": areas < np.median(areas),
        "/large": areas > np.median(areas),
    }
    return {
        f"{name}/{measure}{size}": float(values[chosen].mean())
        for measure, values in zip(Pointing._fields, scores.T, strict=True)
        for size, chosen in sizes.items()
        if chosen.any()
    }


def _on_distractors(grids: FloatArray, single: Single, distractors: Bools) -> Numbers:
    """Yields how much attention lies on distractors, off the lesion, where there are any."""
    there = distractors & ~single.inside
    some = there.any(axis=(1, 2))
    if not some.any():
        return
    there, elsewhere = there[some], ~single.inside[some]
    mass = _spread(grids[some], single)
    share, area = (mass * there).sum(axis=(1, 2)), there.mean(axis=(1, 2))
    off, off_area = (mass * elsewhere).sum(axis=(1, 2)), elsewhere.mean(axis=(1, 2))
    heats = _scaled(grids[some], single)
    yield "distractor/attention", float(share.mean())
    yield "distractor/area", float(area.mean())
    yield "distractor/density", float(share.sum() / area.sum())
    yield (
        "distractor/density_off_lesion",
        float(share.sum() / off.sum() / (area.sum() / off_area.sum())),
    )
    yield (
        "distractor/pointing_game",
        float(np.mean([pointing(*each).pointing_game for each in zip(heats, there, strict=True)])),
    )


def _aurocs(test: EmbeddedPairs) -> Numbers:
    scores = Scores.of(test, LABELS)
    columns = [at for at in range(len(LABELS)) if scores.findings.answered(at)]
    for name, values in (("present", scores.present), ("margin", scores.margin)):
        each = [roc_auc_score(scores.findings.there[:, at], values[:, at]) for at in columns]
        yield f"auroc_{name}/macro", float(np.mean(each))


def _scaled(grids: FloatArray, single: Single) -> Floats:
    """Returns grids float[N,G,G] as maps float32[N,H,W] on the images."""
    height, width = single.inside.shape[1:]
    return np.stack([upsampled(grid, height, width) for grid in grids])


def _spread(grids: FloatArray, single: Single) -> Floats:
    """Returns grids float[N,G,G] with each patch's mass spread evenly over its pixels."""
    down, across = (
        side // patches
        for side, patches in zip(single.inside.shape[1:], grids.shape[1:], strict=True)
    )
    tiles = np.ones((1, down, across)) / (down * across)
    return np.asarray(np.kron(grids, tiles))
