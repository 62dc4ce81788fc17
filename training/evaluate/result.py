"""Defines a result: numbers with interval and chance, and notes on what was not measured."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import numpy.typing as npt
from pydantic import InstanceOf, JsonValue

from service.arrays import Bools, UInt8

DIGITS = 6
"""Decimals that are written. More would differ between machines."""


class NotMeasured(Exception):
    """These studies cannot answer a measure; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number over `n` studies or queries.

    low, high: 95 % interval over resampled patients. chance: the value without looking at the
    image. sd: over repetitions of a measure that draws. Each is None if it has no meaning.
    """

    value: float
    n: int
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    sd: float | None = None

    def cells(self) -> tuple[str, str, str, str]:
        """Returns the cells of a table: value, interval or ± sd, chance, n."""
        spread = "" if self.sd is None else f"± {self.sd:.3f}"
        if self.low is not None and self.high is not None:
            spread = f"{self.low:.3f} – {self.high:.3f}"
        chance = "" if self.chance is None else f"{self.chance:.3f}"
        return f"{self.value:.3f}", spread, chance, str(self.n)


COLUMNS = ("value", "95 % interval or ± sd", "chance", "n")
"""Headings of `cells`."""


@dataclass(frozen=True, slots=True, eq=False)
class MapExample:
    """A study's maps for a figure: image uint8[H,W], region bool[H,W], kind → map float32[H,W]."""

    title: str
    image: UInt8
    inside: Bools
    maps: dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Measurement:
    """The numbers of one measure.

    by_label: label → measure → number. notes: what was left out, and why. points: curves and clouds
    for the figures by name, one point a row. examples: images for the figures; only the page has
    them, since they may be of patients.
    """

    values: dict[str, Estimate] = field(default_factory=dict)
    by_label: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    points: dict[str, list[list[float]]] = field(default_factory=dict)
    examples: tuple[InstanceOf[MapExample], ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """All measurements of one encoder on one test set.

    about: facts about the encoder and the studies. sections: measure → its numbers. differences:
    other encoder → measure → its number minus this encoder's.
    """

    about: dict[str, JsonValue]
    sections: dict[str, Measurement]
    differences: dict[str, dict[str, float]] = field(default_factory=dict)

    def numbers(self) -> dict[str, Estimate]:
        """Returns every number by its name; a label's is `measure/label`."""
        return dict(self._numbers())

    def _numbers(self) -> Iterator[tuple[str, Estimate]]:
        for section in self.sections.values():
            yield from section.values.items()
            for label, row in section.by_label.items():
                yield from ((f"{measure}/{label}", value) for measure, value in row.items())

    def to_json(self) -> str:
        """Returns the result as JSON without images, the same text for the same numbers."""
        sections = {name: replace(each, examples=()) for name, each in self.sections.items()}
        record = _plain(asdict(replace(self, sections=sections)))
        return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    """Rounds floats, and leaves out what is None or empty."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if each not in (None, {}, (), [])}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
