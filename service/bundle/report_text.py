"""Reads the text of a report: its sections, what kind each one is, and its sentences.

This is the only reader of report text. The case library, training and evaluation share it, so a
model is trained on the sentences that the service stores and may cite.

Headings have these forms. The words that count as known are in `service.bundle.report_headings`.

| form | example | words |
|---|---|---|
| capitals at the beginning of a line, then a colon | `CHEST, TWO VIEWS: Clear.` | any |
| at the beginning of a line, then a colon | `Clinical history: Cough.` | known, in any case |
| alone on a line | `Findings`, `## Impression`, `FINAL REPORT` | known, in any case |
| capitals at the beginning of a line, then a dash or a full stop | `IMPRESSION - Normal.` | known |
| within a line, then a colon | `Clear. IMPRESSION: Normal.` | known, capitals or after a stop |

A body part is no heading. In `FINDINGS: LUNGS: Clear.` the sentence is `LUNGS: Clear.`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from service.bundle.report_headings import HEADING, VIEWS_ALONE, Meaning, meaning, words_of

Kind = Literal["findings", "impression", "both", "other"]
"""findings describe the image; an impression concludes; both do both; other does neither."""

FINDINGS = "findings"
IMPRESSION = "impression"
BOTH = "findings and impression"
REPORT = "report"
PREAMBLE = "preamble"
_NAMES = {"findings": FINDINGS, "impression": IMPRESSION, "both": BOTH}

_BLANK_LINE = re.compile(r"\n[ \t\r]*\n\s*")
_WHOLE_SENTENCE = re.compile(r"""[.!?]["')\]*_]*\s*\Z""")
_ITEM = re.compile(r"[ \t]*(?:(?P<bullet>[-*•–—])|(?P<number>\d{1,2})[.)])[ \t]+(?=\D)")
_LABEL = re.compile(r"[ \t]*([A-Z][A-Za-z /&]{1,39}):(?=\s)")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]*]* (?=[A-Z0-9\"(\[*])")
_ABBREVIATION = re.compile(r"\b(?:Drs?|Prof|Mr|Mrs|Ms|vs|approx|ca|cf|e\.g|i\.e|Fig|St|[A-Z])\.$")
_HALF_OF_DAY = re.compile(r"\d ?[AaPp]\.?[Mm]\.$")
_LONGEST = len(" approx.")
_LIST_NUMBER = re.compile(r"(?:^| )(\d{1,2})\.$")


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
    follows, and `chest, two views` where the report has findings besides.
    """
    return [section for report in _reports(_parts(text)) for section in _named(report)]


def sentences(body: str) -> list[str]:
    r"""Splits text into sentences, each on one line, otherwise as written.

    A sentence ends at a stop, at a blank line and before a list's next item on a new line. The full
    stop of a number ("1.5 cm", also broken: "1. 5 cm"), of an abbreviation ("Dr.", "vs.") or of an
    item's number ends none. Example: "1. Mild edema.\n2. T. Smith was called." → two sentences.
    """
    return [sentence for item in _items(body) for sentence in _sentences(" ".join(item.split()))]


@dataclass(frozen=True, slots=True)
class _Part:
    """A section before it has a name. `words`: the heading in capitals, without punctuation."""

    heading: str
    body: str
    words: str
    meaning: Meaning

    @property
    def describes(self) -> bool:
        """Whether its heading says that it describes the image, and something is there."""
        return self.meaning in ("findings", "both") and _has_words(self.body)

    @property
    def may_describe(self) -> bool:
        """Whether it describes the image where no heading says so."""
        if self.meaning == "views":
            return _has_words(self.body)
        return self.meaning == "report" and bool(_WHOLE_SENTENCE.search(self.body))


def _parts(text: str) -> list[_Part]:
    """Cuts the text at its headings. What a body part heads stays in the section it belongs to."""
    found = _headings(text)
    ends = [*(start for start, _, _ in found), len(text)][1:]
    parts = [_Part("", text[: found[0][0] if found else len(text)], "", "report")]
    for (start, end, words), until in zip(found, ends, strict=True):
        means = meaning(words)
        if means != "anatomy":
            parts.append(_Part(text[start:end], text[end:until], words, means))
        elif parts[-1].meaning in ("background", "other", "unknown"):
            parts.append(_Part("", text[start:until], "", "report"))
        else:
            last = parts.pop()
            parts.append(replace(last, body=last.body + text[start:until]))
    return parts


def _headings(text: str) -> list[tuple[int, int, str]]:
    """Start, end and words of each heading, in reading order.

    Where all of a report is in capitals, only known words are headings.
    """
    found = [(match.start(), match.end(), words_of(match)) for match in HEADING.finditer(text)]
    if text.isupper():
        found = [heading for heading in found if meaning(heading[2]) != "unknown"]
    starts = {start for start, _, _ in found}
    for line in VIEWS_ALONE.finditer(text):
        words = words_of(line)
        is_title = line[1].isupper() or not text[: line.start()].strip()
        if line.start() not in starts and is_title and meaning(words) == "views":
            found.append((line.start(), line.end(), words))
    return sorted(found)


def _reports(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    """Several reports in one text, each from its title (`FINAL REPORT`) to the next."""
    report: list[_Part] = []
    for part in parts:
        if part.meaning == "report" and part.heading and any(_has_words(p.body) for p in report):
            yield report
            report = []
        report.append(part)
    yield report


def _named(report: Sequence[_Part]) -> Iterator[Section]:
    """The sections of one report, each with its name."""
    if all(part.meaning == "report" for part in report):
        yield from (Section(part.heading, part.body, REPORT) for part in report)
        return
    if not any(part.describes or part.may_describe for part in report):
        report = _with_description(report)
    described = any(part.describes for part in report)
    concluded = any(part.meaning == "impression" and _has_words(part.body) for part in report)
    for part in report:
        name = _name(part, described=described, concluded=concluded)
        yield Section(part.heading, part.body, name)


def _name(part: _Part, *, described: bool, concluded: bool) -> str:
    if part.meaning in _NAMES:
        return _NAMES[part.meaning]
    if part.may_describe and not described:
        return FINDINGS if concluded else REPORT
    name = part.words.lower()
    return PREAMBLE if name in ("", REPORT) else name


def _with_description(report: Sequence[_Part]) -> list[_Part]:
    r"""The same report, with the description that has no heading of its own as a part.

    It is what follows the first paragraph of the last background before an impression. Example:
    in "COMPARISON: None.\n\nThe lungs are clear.", the second paragraph.
    """
    ends = [i for i, part in enumerate(report) if part.meaning == "impression"] or [len(report)]
    for index in reversed(range(ends[0])):
        part = report[index]
        if part.meaning == "background":
            blank = _BLANK_LINE.search(part.body, len(part.body) - len(part.body.lstrip()))
            if blank is None or not _WHOLE_SENTENCE.search(part.body):
                break
            background = replace(part, body=part.body[: blank.end()])
            description = _Part("", part.body[blank.end() :], "", "report")
            return [*report[:index], background, description, *report[index + 1 :]]
    return list(report)


def _has_words(text: str) -> bool:
    return re.search(r"[^\W_]", text) is not None


def _items(body: str) -> Iterator[str]:
    r"""Paragraphs, and the lines that begin an item of a list; bullets and rules are left out.

    An item begins with a bullet, with a body part and a colon ("Heart: normal"), or with a number
    that is 1 or counts on: the 2 in "grade\n2. Clear." begins none.
    """
    lines: list[str] = []
    number = 0
    for line in body.splitlines():
        item, label = _ITEM.match(line), _LABEL.match(line)
        counts = item and item["number"] and int(item["number"]) in (1, number + 1)
        is_label = label and meaning(label[1].strip().upper()) == "anatomy"
        if (item and item["bullet"]) or counts or is_label or not _has_words(line):
            yield " ".join(lines)
            lines = []
        number = int(item["number"]) if item and counts else number
        if _has_words(line):
            lines.append(line[item.end() :] if item and item["bullet"] else line)
    yield " ".join(lines)


def _sentences(line: str) -> list[str]:
    """Splits a line at its sentences' ends."""
    starts, number = [0], 0
    for end in _SENTENCE_END.finditer(line):
        tail = line[max(starts[-1], end.start() - _LONGEST) : end.start()]
        listed = _list_number(tail, number, begins=len(tail) == end.start() - starts[-1])
        if listed is not None:
            number = listed
        elif not _abbreviates(tail, line[end.end()]) and not _is_decimal(line, end):
            starts.append(end.end())
            number = 0
    pieces = [line[a:b].rstrip() for a, b in pairwise([*starts, len(line)])]
    return [piece for piece in pieces if _has_words(piece)]


def _abbreviates(tail: str, following: str) -> bool:
    """Whether the tail's full stop belongs to an abbreviation. `following`: the next character."""
    if _HALF_OF_DAY.search(tail):
        return False
    return bool(_ABBREVIATION.search(tail)) or (tail.endswith("No.") and following.isdigit())


def _list_number(tail: str, last: int, *, begins: bool) -> int | None:
    """The number that ends the tail, if it begins a sentence or counts on in a sentence's list."""
    match = _LIST_NUMBER.search(tail)
    if match is None:
        return None
    number = int(match[1])
    return number if (begins and match.start() == 0) or (last and number == last + 1) else None


def _is_decimal(line: str, end: re.Match[str]) -> bool:
    """Whether a line was broken inside a number: "1. 5 cm"."""
    return re.fullmatch(r"\d\. \d", line[max(0, end.start() - 2) : end.end() + 1]) is not None
