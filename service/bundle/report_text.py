"""Reads the text of a report: its sections, and which of them describe the image.

This is the only reader of report text. The case library, training and evaluation share it, so a
model is trained on the sentences that the service stores and may cite.

Headings have these forms. The words that count as known are in `service.bundle.report_words`.

| form | example | words |
|---|---|---|
| capitals at the beginning of a line, then a colon | `CHEST, TWO VIEWS: Clear.` | any |
| at the beginning of a line, then a colon | `Clinical history: Cough.` | known, in any case |
| alone on a line | `Findings`, `## Impression`, `FINAL REPORT` | known, in any case |
| at the beginning of a line, then a dash | `Impression - Normal.` | known, in any case |
| capitals at the beginning of a line, then a full stop | `IMPRESSION. Normal.` | known |
| within a line, then a colon | `Clear. IMPRESSION: Normal.` | known, capitals or after a stop |
| within a line, then a colon | `Clear Impression: Normal.` | findings, impression, conclusion |

A body part is no heading, nor are unknown words within a description. In `FINDINGS: LUNGS: Clear.`
the sentence is `LUNGS: Clear.`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from service.bundle.report_headings import Heading, headings
from service.bundle.report_sentences import has_words, is_administrative, sentences
from service.bundle.report_words import Meaning, is_history, meaning

Kind = Literal["findings", "impression", "both", "other"]
"""findings describe the image; an impression concludes; both do both; other does neither."""

FINDINGS = "findings"
IMPRESSION = "impression"
BOTH = "findings and impression"
REPORT = "report"
PREAMBLE = "preamble"
_NAMES = {"findings": FINDINGS, "impression": IMPRESSION, "both": BOTH}
_STATED = frozenset({"findings", "impression", "both", "views"})
"""Meanings of headings below which a report describes its image."""
_PLAIN: dict[Meaning, Meaning] = {"judgement": "impression", "description": "findings"}
_BLANK_LINE = re.compile(r"\n[ \t\xa0\r]*\n\s*")
_STOP = re.compile(r"""(?<![AaPp]\.[Mm])[.!?]["')\]*_]*(?:\s|\Z)""")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the text below it, both as written, and the name that the service stores.

    The heading is empty where the text has none.
    """

    heading: str
    body: str
    name: str

    @property
    def kind(self) -> Kind:
        """Whether the section describes the image, concludes, does both or neither."""
        return kind_of(self.name)


def kind_of(name: str) -> Kind:
    """Returns the kind of the sections of a name.

    Examples: `findings` → findings; `report` → both; `comparison` → other. A name that an earlier
    release stored counts too: `conclusion` → impression.
    """
    if name == REPORT:
        return "both"
    match meaning(name.upper()):
        case "findings" | "impression" | "both" as kind:
            return kind
    return "other"


def sections(text: str) -> list[Section]:
    """Splits a report into its sections, in reading order.

    The headings and bodies, joined, are the report to the letter. Sections are named `findings`,
    `impression`, `findings and impression`, `report` for a description under none of these
    headings, and else by their heading in lower case. Examples: `CONCLUSIONS: Normal.` is an
    `impression`. `CHEST, TWO VIEWS: Clear.` is a `report`; it is `findings` where an impression
    follows, and `chest two views` where the report has findings besides.
    """
    return [section for report in _reports(_parts(text)) for section in _named(report)]


def described(text: str) -> list[tuple[Kind, str]]:
    """Returns the sentences that describe the image, each with its kind, in reading order."""
    return [
        (section.kind, sentence)
        for section in sections(text)
        if section.kind != "other"
        for sentence in sentences(section.body)
        if not is_administrative(sentence)
    ]


@dataclass(frozen=True, slots=True)
class _Part:
    """A section before it has a name. `words`: the heading in capitals, without punctuation."""

    heading: str
    body: str
    words: str
    meaning: Meaning

    @property
    def has_stop(self) -> bool:
        """Whether a sentence ends in it. A letterhead has none."""
        return bool(_STOP.search(self.body))

    @property
    def states(self) -> bool:
        """Whether its heading says that it describes the image, and something is there."""
        is_there = self.has_stop if self.meaning == "views" else has_words(self.body)
        return self.meaning in _STATED and is_there

    @property
    def may_describe(self) -> bool:
        """Whether it describes the image where no heading says so."""
        if self.meaning in ("views", "description"):
            return has_words(self.body)
        return self.meaning == "report" and self.has_stop


def _parts(text: str) -> list[_Part]:
    """Cuts the text at its headings. What a body part heads stays in the section it belongs to."""
    found = headings(text)
    final = any(heading.words.startswith("FINAL") for heading in found)
    places: list[tuple[int, int, str, Meaning]] = [(0, 0, "", "report")]
    last: Meaning = "report"
    described: Meaning = "report"
    superseded = False
    for heading in found:
        if final and heading.meaning == "report":
            superseded = heading.words.startswith("PRELIMINARY")
        if heading.meaning == "anatomy" and last in ("background", "unknown"):
            places.append((heading.start, heading.start, "", described))
        elif _continues(heading, last):
            continue
        else:
            means: Meaning = "other" if superseded else heading.meaning
            places.append((heading.start, heading.end, heading.words, means))
        last = places[-1][3]
        described = last if last in _NAMES else described
    ends = [*(start for start, *_ in places[1:]), len(text)]
    return [
        _Part(text[start:body], text[body:end], words, means)
        for (start, body, words, means), end in zip(places, ends, strict=True)
    ]


def _continues(heading: Heading, last: Meaning) -> bool:
    """Whether a heading, as a body part, is within the section before it, of meaning `last`."""
    if heading.meaning == "anatomy":
        return True
    return heading.meaning == "unknown" and (last in _STATED or last == "report")


def _reports(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    """Several reports in one text, each from its title (`FINAL REPORT`) to the next.

    A title without any heading of a description below it begins no report after one that has some:
    it may be the foot of a page.
    """
    titles = [i for i, part in enumerate(parts) if part.meaning == "report" and part.heading]
    states = [any(part.states for part in parts[a:b]) for a, b in pairwise([*titles, len(parts)])]
    starts = [0]
    stated = any(part.states for part in parts[: titles[0] if titles else 0])
    begun = stated
    for place, states_below in zip(titles, states, strict=True):
        if begun and (states_below or not stated):
            starts.append(place)
            stated = False
        stated = stated or states_below
        begun = stated or _is_titled(parts[place])
    for start, end in pairwise([*starts, len(parts)]):
        yield list(parts[start:end])


def _is_titled(part: _Part) -> bool:
    return part.meaning == "report" and bool(part.heading) and has_words(part.body)


def _named(report: list[_Part]) -> Iterator[Section]:
    """The sections of one report, each with its name."""
    for part in _resolved(report):
        yield Section(part.heading, part.body, _name(part))


def _name(part: _Part) -> str:
    """A section that describes no image never has a name that says so."""
    if part.meaning == "report":
        return REPORT
    name = part.words.lower()
    return _NAMES.get(part.meaning, name if name and kind_of(name) == "other" else PREAMBLE)


def _resolved(report: list[_Part]) -> list[_Part]:
    """The parts with a certain meaning each: findings, impression, both, report or other."""
    if all(part.meaning == "report" for part in report) and not _is_titled(report[-1]):
        return report
    report = _settled(_without_preamble(report))
    found = any(part.meaning in ("findings", "both") and has_words(part.body) for part in report)
    concluded = any(part.meaning == "impression" and has_words(part.body) for part in report)
    if not found and not any(part.may_describe for part in report):
        report = _with_description(report, concluded=concluded)
    narrative: Meaning = "other" if found else "findings" if concluded else "report"
    sentences_end = any(part.may_describe and part.has_stop for part in report)
    return [
        part
        if part.meaning in _NAMES
        else replace(part, meaning=narrative)
        if part.may_describe and (part.has_stop or not sentences_end)
        else replace(part, meaning="other")
        for part in report
    ]


def _without_preamble(report: list[_Part]) -> list[_Part]:
    """The same report, with what stands above its title as something else than a description."""
    first, *rest = report
    titled = any(part.meaning == "report" and part.heading for part in rest)
    return [replace(first, meaning="other"), *rest] if titled and not first.heading else report


def _settled(report: list[_Part]) -> list[_Part]:
    """The same report, with a plain meaning where a heading's words are weak.

    A judgement (`DIAGNOSIS`) is the impression if none is stated and no description follows, and a
    comment if a description comes before it. A description (`RESULTS`) is the findings if nothing
    else describes the image.
    """
    concluded = any(part.meaning in ("impression", "both") for part in report)
    described = any(part.states and part.meaning != "impression" for part in report)
    last = max((place for place, part in enumerate(report) if part.states), default=-1)
    weak: dict[Meaning, bool] = {"judgement": concluded, "description": described}

    def plain(part: _Part, place: int) -> Meaning:
        if weak.get(part.meaning) or (part.meaning == "judgement" and place < last):
            return "other"
        if part.meaning == "comment" and described and not concluded and place > last:
            return "impression"
        return _PLAIN.get(part.meaning, part.meaning)

    return [replace(part, meaning=plain(part, place)) for place, part in enumerate(report)]


def _with_description(report: list[_Part], *, concluded: bool) -> list[_Part]:
    r"""The same report, with the description that has no heading of its own as a part.

    It is what follows the first paragraph of the last background, but not of a history if an
    impression follows. Example: the second paragraph of "COMPARISON: None.\n\nThe lungs are clear."
    Where nothing concludes, it is a comment or text under unknown headings.
    """
    for meant in () if concluded else ("comment", "unknown"):
        if any(part.meaning == meant and has_words(part.body) for part in report):
            return [_as_description(part) if part.meaning == meant else part for part in report]
    ends = [i for i, part in enumerate(report) if part.meaning == "impression"] or [len(report)]
    for index in reversed(range(ends[0])):
        part = report[index]
        if part.meaning != "background" or (concluded and is_history(part.words)):
            continue
        blank = _BLANK_LINE.search(part.body, len(part.body) - len(part.body.lstrip()))
        if blank is None or not _STOP.search(part.body, blank.end()):
            break
        background = replace(part, body=part.body[: blank.end()])
        description = _Part("", part.body[blank.end() :], "", "report")
        return [*report[:index], background, description, *report[index + 1 :]]
    return report


def _as_description(part: _Part) -> _Part:
    """The part as a description. Words that nobody knows stay in its text."""
    if part.meaning == "unknown":
        part = replace(part, heading="", body=part.heading + part.body, words="")
    return replace(part, meaning="description")
