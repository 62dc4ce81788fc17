"""Finds the dates in a text of lower-case letters without accents, in the forms people write them.

| form | examples |
|---|---|
| year first | `2026-03-12`, `20260312`, `2026/3/12`, `2026年3月12日` |
| year last | `12.03.2026`, `3/12/2026`, `12-3-26` |
| month in words | `2026-mar-12`, `12 march 2026`, `march 12, 2026`, `12 de marzo de 2026` |

The month may be in English, German, French, Spanish, Italian, Dutch or Portuguese.
"""

import re
from collections.abc import Collection, Iterator
from datetime import date

_MONTHS = (
    "january januar janvier enero gennaio januari janeiro",
    "february februar fevrier febrero febbraio februari fevereiro",
    "march marz mars marzo maart marco maerz mrt",
    "april avril abril aprile",
    "may mai mayo maggio mei maio",
    "june juni juin junio giugno junho",
    "july juli juillet julio luglio julho",
    "august aout agosto augustus",
    "september septembre septiembre settembre setembro sept",
    "october oktober octobre octubre ottobre outubro",
    "november novembre noviembre novembro",
    "december dezember decembre diciembre dicembre dezembro",
)
_MONTH_OF = {
    name[:length]: number
    for number, names in enumerate(_MONTHS, 1)
    for name in names.split()
    for length in range(3, len(name) + 1)
}
"""A month's name, or its beginning of three letters or more → its number."""
_NAME = rf"(?P<month>{'|'.join(sorted(_MONTH_OF, key=len, reverse=True))})(?![a-z])\.?"
_YEAR = r"(?P<year>(?:19|20)\d\d|'?\d\d)(?![\d]|[.,]\d)"
_DAY = r"(?<![\d.,])(?P<day>\d{1,2})(?:st|nd|rd|th|er|º|\.)?"
_BETWEEN = r"(?:[-\s]|,?\s(?:of|de|del)\s?)?\s{0,2}"
_FORMS = tuple(
    re.compile(f"(?=(?P<date>{form}))")
    for form in (
        r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<month>\d\d)(?P<day>\d\d)"
        r"(?:t?\d\d(?:\d\d){0,2})?(?!\d)",
        r"(?<!\d)(?P<year>(?:19|20)\d\d)\s?[-./年]\s?(?P<month>\d{1,2})\s?[-./月]\s?"
        r"(?P<day>\d{1,2})日?(?!\d)",
        rf"(?<!\d)(?P<year>(?:19|20)\d\d)[-, ]{{1,2}}{_NAME}[- ]{{1,2}}(?P<day>\d{{1,2}})(?!\d)",
        r"(?<![\d.,])(?P<day>\d{1,2})\s?(?P<gap>[-./])\s?(?P<month>\d{1,2})\s?(?P=gap)\s?" + _YEAR,
        rf"{_DAY}{_BETWEEN}{_NAME},?{_BETWEEN}{_YEAR}",
        rf"(?<![a-z]){_NAME}{_BETWEEN}(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?{_BETWEEN}{_YEAR}",
    )
)
"""The forms of the table. A date may begin within what only looks like one: `5-12-03-2026`."""


def dates_in(text: str, known: Collection[date]) -> list[tuple[int, int]]:
    """Returns the beginning and the end of each date; one of two-digit year only if it is known."""
    short = {(day.year % 100, day.month, day.day) for day in known}
    return [
        match.span("date")
        for form in _FORMS
        for match in form.finditer(text)
        if any(_counts(*each, short) for each in _readings(match))
    ]


def _readings(match: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    """Yields year, month and day; where the year is last, in both orders of the others."""
    year, month, day = match["year"].lstrip("'"), match["month"], int(match["day"])
    if month in _MONTH_OF:
        yield year, _MONTH_OF[month], day
        return
    yield year, int(month), day
    if match.start("year") > match.start("day"):
        yield year, day, int(month)


def _counts(year: str, month: int, day: int, short: Collection[tuple[int, int, int]]) -> bool:
    """Whether there is such a day, or with a year of two digits, whether it is known."""
    if len(year) == 2:
        return (int(year), month, day) in short
    try:
        date(int(year), month, day)
    except ValueError:
        return False
    return True


def date_of(value: str) -> date | None:
    """Returns the day of a DICOM date or date and time; None for what is none."""
    digits = re.sub(r"\D", "", value[:10])[:8]
    try:
        return date.fromisoformat(digits)
    except ValueError:
        return None
