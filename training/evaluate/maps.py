"""Measures where a tower's maps point, beside priors that do not look at the image.

`attention` is where the tower pooled its patches; `text` is what each patch adds to the score of a
text. A gain is a map's value minus the centre prior's on the same studies, with its interval over
resampled patients: a map is of use where the interval lies above 0. For the intersection over union
(IoU) a map, and each prior, marks the share of the image that served it best on the validation
studies.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.arrays import FloatArray
from service.bundle.labels import Prompts
from service.bundle.maps import MapKind, upsampled
from training.evaluate.bootstrap import Counts, interval, means, patient_counts
from training.evaluate.encode import EmbeddedPairs
from training.evaluate.grids import Drawn, draw, kinds_of
from training.evaluate.pointing import SHARES, Heat, Pointing, centre_prior, mean_gaze
from training.evaluate.regions import AGAINST, Against
from training.evaluate.result import Estimate, MapExample, Measurement, NotMeasured

LEAST_PATIENTS = 20
"""Patients needed to state a gain: the interval of fewer is too narrow."""
EXAMPLES = 6
"""Most images in the figure of maps."""
CENTRE, MEAN_GAZE = "centre_prior", "mean_gaze_prior"
GAIN = "gain_over_centre_prior"

Scores = npt.NDArray[np.float64]
Priors = Mapping[str, Heat]


@dataclass(frozen=True)
class Scored:
    """How well one map and the priors fit N regions.

    areas: float64[N], fractions of the image. fits: map or prior → float64[N,3], the fields of
    `Pointing`. overlaps: the same → float64[N,S], the IoU of each share.
    """

    patients: list[str]
    areas: Scores
    fits: dict[str, Scores]
    overlaps: dict[str, Scores]

    def measures(self, name: str, share: int | None) -> dict[str, Scores]:
        """Returns the values of a map or prior by measure, float64[N]; IoU if there is a share."""
        named = dict(zip(Pointing._fields, self.fits[name].T, strict=True))
        return named if share is None else named | {"iou": self.overlaps[name][:, share]}


def maps(
    test: EmbeddedPairs,
    prompts: Mapping[str, Prompts],
    validation: EmbeddedPairs | None = None,
    train: EmbeddedPairs | None = None,
) -> Measurement:
    """Measures all maps of an encoder at lesions and at gaze.

    validation: studies on which the shares for IoU are chosen. train: studies whose mean heatmap is
    a prior. Raises NotMeasured if there is no map, or no region to point at.
    """
    kinds = kinds_of(test)
    if not kinds:
        raise NotMeasured("the image tower yields no map")
    priors = _priors(test, train)
    tested = draw(test, prompts)
    chosen_on = None if validation is None else draw(validation, prompts)
    values: dict[str, Estimate] = {}
    notes = [] if MEAN_GAZE in priors else ["no mean-gaze prior, as no training study has gaze"]
    for against in AGAINST:
        for kind in kinds:
            scored = score(tested, kind, against, priors)
            if scored is None:
                notes.append(f"no study has a {against} region for the {kind} map")
                continue
            shares = {} if chosen_on is None else _shares(chosen_on, kind, against, priors)
            values |= dict(_values(f"map/{kind}/{against}", kind, scored, shares))
            notes += _notes(kind, against, scored, shares)
    if not values:
        raise NotMeasured("; ".join(notes))
    return Measurement(values=values, notes=tuple(notes), examples=tuple(_examples(tested)))


def score(drawn: Drawn, kind: MapKind, against: Against, priors: Priors) -> Scored | None:
    """Scores the maps of one kind, and the priors, at regions of one kind; None without any."""
    chosen = [
        (region, grid)
        for region, grid in zip(drawn.regions, drawn.grids[kind], strict=True)
        if region.against == against and grid is not None
    ]
    if not chosen:
        return None
    insides = [region.inside for region, _ in chosen]
    height, width = insides[0].shape
    heats: dict[str, Iterable[Heat]] = {
        kind: (Heat(on_input(grid, height, width)) for _, grid in chosen)
    }
    heats |= {name: [prior] * len(chosen) for name, prior in priors.items()}
    fits, overlaps = {}, {}
    for name, each in heats.items():
        both = [(h.pointing(i), h.overlaps(i)) for h, i in zip(each, insides, strict=True)]
        fits[name], overlaps[name] = map(np.array, zip(*both, strict=True))
    return Scored(
        [drawn.studies.patients[region.row] for region, _ in chosen],
        np.array([inside.mean() for inside in insides]),
        fits,
        overlaps,
    )


def on_input(grid: FloatArray, height: int, width: int) -> FloatArray:
    """Spreads a map float[G,G] over the tower's input, float32[height,width].

    What is left below and to the right of the patches, because it is smaller than a patch, gets the
    map's least value: the tower does not see it.
    """
    below, right = height % grid.shape[0], width % grid.shape[1]
    seen = upsampled(grid, height - below, width - right)
    return np.pad(seen, ((0, below), (0, right)), constant_values=seen.min())


def _priors(test: EmbeddedPairs, train: EmbeddedPairs | None) -> dict[str, Heat]:
    _, height, width = test.pairs.images.shape
    priors = {CENTRE: Heat(centre_prior(height, width))}
    heatmaps = None if train is None else train.pairs.heatmaps
    if heatmaps is not None and (gaze := mean_gaze(heatmaps)) is not None:
        priors[MEAN_GAZE] = Heat(gaze)
    return priors


def _shares(validation: Drawn, kind: MapKind, against: Against, priors: Priors) -> dict[str, int]:
    """Returns the column of the share that serves the map, and each prior, best; {} without."""
    scored = score(validation, kind, against, priors)
    found = {} if scored is None else scored.overlaps
    return {name: int(each.mean(axis=0).argmax()) for name, each in found.items()}


def _values(
    stem: str, kind: MapKind, scored: Scored, shares: Mapping[str, int]
) -> Iterator[tuple[str, Estimate]]:
    counts = patient_counts(scored.patients)
    area = float(scored.areas.mean())
    by_name = {name: scored.measures(name, shares.get(name)) for name in scored.fits}
    priors = {name: each for name, each in by_name.items() if name != kind}
    for measure, mine in by_name[kind].items():
        chance = 0.5 if measure == "pixel_auc" else area
        yield f"{stem}/{measure}", _estimate(mine, counts, chance)
        for name, prior in priors.items():
            yield f"{stem}/{measure}/{name}", _estimate(prior[measure], counts, chance)
        if len(set(scored.patients)) >= LEAST_PATIENTS:
            gain = mine - priors[CENTRE][measure]
            yield f"{stem}/{measure}/{GAIN}", _estimate(gain, counts, None)


def _estimate(values: Scores, counts: Counts, chance: float | None) -> Estimate:
    low, high = interval(means(counts, values))
    return Estimate(value=float(values.mean()), n=len(values), low=low, high=high, chance=chance)


def _notes(
    kind: MapKind, against: Against, scored: Scored, shares: Mapping[str, int]
) -> Iterator[str]:
    if shares:
        marked = ", ".join(f"{name} {SHARES[at]:.0%}" for name, at in shares.items())
        yield f"IoU at {against}, share of the image marked: {marked}"
    else:
        yield f"no IoU of the {kind} map at {against}, as no validation study has such a region"
    if (patients := len(set(scored.patients))) < LEAST_PATIENTS:
        yield f"no gain of the {kind} map at {against}, as only {patients} patients have it"


def _examples(drawn: Drawn) -> Iterator[MapExample]:
    """Yields the first lesion of each finding; without lesions, the first regions of gaze."""
    firsts = {region.finding or str(at): at for at, region in reversed([*enumerate(drawn.regions)])}
    lesions = [at for at in firsts.values() if drawn.regions[at].against == "lesion"]
    for at in sorted(lesions or firsts.values())[:EXAMPLES]:
        region = drawn.regions[at]
        height, width = region.inside.shape
        grids = {kind: each[at] for kind, each in drawn.grids.items()}
        yield MapExample(
            region.finding or "gaze",
            drawn.studies.pairs.images[region.row],
            region.inside,
            {k: on_input(grid, height, width) for k, grid in grids.items() if grid is not None},
        )
