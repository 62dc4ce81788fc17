"""What a measure found: numbers beside their chance, and what could not be measured and why."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from pydantic import JsonValue

DIGITS = 6
"""Decimals that are written: more would tell one machine's arithmetic from another's."""


class NotMeasured(Exception):
    """These studies cannot answer; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number, of `n` studies or queries.

    low, high: 95 % interval over resampled patients. chance: what knows nothing of the image gets.
    sd: over repetitions of a measure that draws. Each is None where it has no meaning.
    """

    value: float
    n: int
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    sd: float | None = None

    def cells(self) -> tuple[str, str, str, str]:
        """For a table: value, interval or ± sd, chance, n."""
        spread = "" if self.sd is None else f"± {self.sd:.3f}"
        if self.low is not None and self.high is not None:
            spread = f"{self.low:.3f} – {self.high:.3f}"
        chance = "" if self.chance is None else f"{self.chance:.3f}"
        return f"{self.value:.3f}", spread, chance, str(self.n)


COLUMNS = ("value", "95 % interval or ± sd", "chance", "n")
"""What `cells` are."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measure's numbers.

    by_label: label → measure → number. notes: what was left out, and why. points: named curves and
    clouds for the figures, one point a row.
    """

    values: dict[str, Estimate] = field(default_factory=dict)
    by_label: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    points: dict[str, list[list[float]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """All sections of one encoder on one test set.

    differences: other encoder → measure → how far its number is from this one's.
    """

    about: dict[str, JsonValue]
    sections: dict[str, Measurement]
    differences: dict[str, dict[str, float]] = field(default_factory=dict)

    def numbers(self) -> dict[str, Estimate]:
        """Every number under one name; a label's is `measure/label`."""
        return dict(self._numbers())

    def _numbers(self) -> Iterator[tuple[str, Estimate]]:
        for section in self.sections.values():
            yield from section.values.items()
            for label, row in section.by_label.items():
                yield from ((f"{measure}/{label}", one) for measure, one in row.items())

    def to_json(self) -> str:
        """The same text for the same numbers."""
        record = _plain(asdict(self))
        return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    """Floats rounded, and what is None or empty left out."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if one not in (None, {}, (), [])}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
