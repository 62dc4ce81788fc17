"""Says how far each map of a bundle can be trusted, for its manifest."""

from collections.abc import Mapping
from typing import get_args

from service.bundle.labels import LabelSets
from service.bundle.maps import MapKind, MapQuality, Measured
from training.evaluate.encode import EmbeddedPairs
from training.evaluate.maps import CENTRE, GAIN, maps
from training.evaluate.regions import AGAINST
from training.evaluate.result import Estimate, NotMeasured, Result

KINDS: tuple[MapKind, ...] = get_args(MapKind)


def map_quality(result: Result) -> dict[MapKind, MapQuality]:
    """Returns what was measured of each map: at lesions, or at gaze if no lesions have a gain.

    A map without a gain, because of too few patients or none, is left out.
    """
    numbers = result.numbers()
    found = {kind: _of_kind(numbers, kind) for kind in KINDS}
    return {kind: quality for kind, quality in found.items() if quality is not None}


def quality_on(validation: EmbeddedPairs, label_sets: LabelSets) -> dict[MapKind, MapQuality]:
    """Measures an encoder's maps on validation studies; {} if these cannot answer."""
    sets = label_sets.root.values()
    prompts = {name.lower(): label for labels in sets for name, label in labels.items()}
    try:
        measured = maps(validation, prompts)
    except NotMeasured:
        return {}
    return map_quality(Result({}, {"maps": measured}))


def _of_kind(numbers: Mapping[str, Estimate], kind: MapKind) -> MapQuality | None:
    for against in AGAINST:
        pointing, auc = (f"map/{kind}/{against}/{name}" for name in ("pointing_game", "pixel_auc"))
        if f"{pointing}/{GAIN}" in numbers:
            return MapQuality(
                against=against,
                studies=numbers[pointing].n,
                pointing_game=_measured(numbers, pointing),
                pixel_auc=_measured(numbers, auc),
            )
    return None


def _measured(numbers: Mapping[str, Estimate], name: str) -> Measured:
    value, gain = numbers[name], numbers[f"{name}/{GAIN}"]
    return Measured(
        value=value.value,
        low=_known(value.low),
        high=_known(value.high),
        centre_prior=numbers[f"{name}/{CENTRE}"].value,
        gain_low=_known(gain.low),
    )


def _known(end: float | None) -> float:
    assert end is not None  # noqa: S101 — a mean over patients has an interval
    return end
