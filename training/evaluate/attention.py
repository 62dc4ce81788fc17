"""Measures where patches point: patch–text maps against lesions and readers' gaze.

The map is what the service shows: the cosine of each patch with a text. For lesions the text is the
label's present prompts, in studies with that label alone, so that the mask is that finding's. For
gaze it is the study's report. Chance is a constant map. `centre_prior` is a Gaussian in the middle
of the image, which knows radiographs but not this one.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from service.arrays import Bools
from service.bundle.labels import Prompts
from service.bundle.maps import upsampled
from training.data.pairs import Levels
from training.evaluate.bootstrap import interval, means, patient_counts
from training.evaluate.encode import BATCH, EmbeddedPairs
from training.evaluate.findings import Findings
from training.evaluate.prompts import ensemble
from training.evaluate.result import Estimate, Measurement, NotMeasured

LESION_LEVEL = 128
"""Level of a resized mask, 0…255, from which a pixel belongs to the lesion: half covered."""
GAZE_LEVEL = 128
"""Level of a heatmap, 0…255, from which a pixel was looked at: half of the longest dwell."""
PRIOR_SPREAD = 0.25
"""Standard deviation of the centre prior, in sides of the image."""

Floats = npt.NDArray[np.floating]


class Pointing(NamedTuple):
    """How well one map fits one region. All three are 1 at best."""

    pointing_game: float
    """Fraction of the map's highest pixels that are inside (Zhang et al. 2018)."""
    pixel_auc: float
    energy_inside: float
    """Fraction of the map above its minimum that is inside (Wang et al. 2020, Score-CAM)."""


class Region(NamedTuple):
    """A study's row, the text that should point, float32[D], and where to, bool[H,W]."""

    row: int
    text: Floats
    inside: Bools


def attention(test: EmbeddedPairs, prompts: Mapping[str, Prompts]) -> Measurement:
    """Measures pointing at lesions and at gaze; raises NotMeasured without patches or regions."""
    if test.encoder.patch_kind is None:
        raise NotMeasured("the image tower yields no patches in the joint space")
    values: dict[str, Estimate] = {}
    notes = []
    for name, regions in (("lesion", _lesions(test, prompts)), ("gaze", _gaze(test))):
        if usable := [region for region in regions if 0 < region.inside.mean() < 1]:
            measured = _measure(test, usable)
            values |= {f"attention/{name}/{key}": value for key, value in measured.items()}
        else:
            notes.append(f"no study has a {name} region and a text to point at it")
    if not values:
        raise NotMeasured("; ".join(notes))
    return Measurement(values=values, notes=tuple(notes))


def pointing(heat: Floats, inside: Bools) -> Pointing:
    """Scores a map float[H,W] against a region bool[H,W] that is neither empty nor full."""
    above = heat - heat.min()
    mass = above.sum()
    return Pointing(
        pointing_game=float(inside[heat == heat.max()].mean()),
        pixel_auc=float(roc_auc_score(inside.ravel(), heat.ravel())),
        energy_inside=float(above[inside].sum() / mass) if mass > 0 else float(inside.mean()),
    )


def centre_prior(height: int, width: int) -> Floats:
    """Returns a Gaussian in the middle, float64[height,width]."""
    down, across = (np.arange(size) + 0.5 for size in (height, width))
    y, x = down / height - 0.5, across / width - 0.5
    return np.asarray(np.exp(-(y[:, None] ** 2 + x**2) / (2 * PRIOR_SPREAD**2)))


def _lesions(test: EmbeddedPairs, prompts: Mapping[str, Prompts]) -> Iterator[Region]:
    if test.pairs.lesions is None or not prompts:
        return
    texts = [ensemble(test.encoder, prompt.present) for prompt in prompts.values()]
    findings = Findings.of(test.pairs.studies, prompts)
    there = findings.there
    alone = findings.known.all(axis=1) & (there.sum(axis=1) == 1)
    for row in np.flatnonzero(alone).tolist():
        inside = test.pairs.lesions[row] >= LESION_LEVEL
        yield Region(row, texts[int(there[row].argmax())], inside)


def _gaze(test: EmbeddedPairs) -> Iterator[Region]:
    if test.pairs.heatmaps is None:
        return
    for at, row in enumerate(test.reported.tolist()):
        looked = test.pairs.heatmaps[row]
        yield Region(row, test.reports[at], looked >= GAZE_LEVEL)


def _measure(test: EmbeddedPairs, regions: list[Region]) -> dict[str, Estimate]:
    _, height, width = test.pairs.images.shape
    prior = centre_prior(height, width)
    scores = [
        pointing(heat, r.inside) for heat, r in zip(_maps(test, regions), regions, strict=True)
    ]
    of_prior = [pointing(prior, region.inside) for region in regions]
    areas = np.array([region.inside.mean() for region in regions])
    counts = patient_counts([test.patients[region.row] for region in regions])
    values = {}
    for name, scored, blind, chance in zip(
        Pointing._fields,
        np.array(scores).T,
        np.array(of_prior).T,
        (areas.mean(), 0.5, areas.mean()),
        strict=True,
    ):
        for key, each in ((name, scored), (f"{name}/centre_prior", blind)):
            low, high = interval(means(counts, each))
            values[key] = Estimate(
                value=float(each.mean()), n=len(each), low=low, high=high, chance=float(chance)
            )
    return values


def _maps(test: EmbeddedPairs, regions: list[Region]) -> Iterator[Floats]:
    """Yields float32[H,W] of each region's text on its image, encoding a batch at a time."""
    pixels: Levels = test.pairs.images
    _, height, width = pixels.shape
    for start in range(0, len(regions), BATCH):
        batch = regions[start : start + BATCH]
        patches = test.encoder.maps(pixels[np.array([region.row for region in batch])]).patches
        assert patches is not None  # noqa: S101 — `attention` asked
        for grid, region in zip(patches, batch, strict=True):
            yield upsampled(grid @ region.text, height, width)
