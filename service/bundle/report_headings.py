"""Finds the headings of radiology reports, in the forms that `report_text` lists."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from service.bundle.report_words import (
    ACQUISITION,
    COMMENT,
    DESCRIPTION,
    FINDINGS,
    IMPRESSION,
    JOINING,
    JUDGEMENT,
    QUALIFYING,
    REASON,
    TITLE,
    Meaning,
    meaning,
)

_SIGNATURE = (
    r"(?:THIS DOCUMENT HAS BEEN )?(?:ELECTRONICALLY )?(?:APPROVED|AUTHENTICATED|DICTATED"
    r"|INTERPRETED|PRINTED|READ|REPORTED|REVIEWED|SIGNED|TRANSCRIBED|VERIFIED) BY"
    r"|ELECTRONICALLY SIGNED|END OF (?:THE )?(?:REPORT|IMPRESSION)|CC"
)


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading as it stands in a report: its place, its words in capitals, its meaning."""

    start: int
    end: int
    words: str
    meaning: Meaning


def _phrase(*words: tuple[str, ...]) -> str:
    """A pattern: one of `words`, with few of these and of the words that go with them about it."""
    known = "|".join(word for group in words for word in group)
    beside = "|".join((known, *QUALIFYING, *JOINING, *REASON, *ACQUISITION))
    return rf"(?:(?:{beside})\b{_GAP}){{0,4}}(?:{known})\b(?:{_GAP}(?:{beside})\b){{0,3}}"


_BLANK = r"[ \t\xa0]"
_GAP = rf"(?:{_BLANK}*[/&,+]{_BLANK}*|{_BLANK}+)"
_KNOWN = _phrase(
    *(FINDINGS, IMPRESSION, DESCRIPTION, JUDGEMENT, COMMENT, REASON, ACQUISITION),
    ("ADDENDUM", "NOTIFICATION", "RADIOLOGIST", "RECOMMENDATIONS?"),
)
_MAIN = _phrase(
    *(FINDINGS, IMPRESSION, REASON, ("COMPARISONS?", "TECHNIQUE")),
    ("ADDENDUM", "NOTIFICATION", "RECOMMENDATIONS?"),
)
_SIGNED = _SIGNATURE.replace(" ", f"{_BLANK}+")
_ASIDE = (
    r"ACCESSION NUMBER|ADV|ADVICE|ATTENDING|DISCLAIMER|FOLLOW-?UP|LIMITATIONS?|MRN|NAME"
    r"|PATIENT(?: NAME)?|PLAN|REFERRING PHYSICIAN|TECHNOLOGIST"
)
_TITLE = TITLE.pattern.replace(" ", f"{_BLANK}+")
_LINE = rf"(?:{_KNOWN}|{_ASIDE}|WET{_BLANK}READ|{_SIGNED}|{_TITLE})"
_ELSEWHERE = "".join(
    rf"(?<!\b{word}[ \t])"
    for word in ("CT", "MRI", "PRIOR", "CLINICAL", "OUTSIDE", "PHYSICAL", "'s", "’s")
)
"""What stands before a heading's words where they are about something else: `CT IMPRESSION:`."""
_CHEST = frozenset(("CHEST", "CXR", "THORAX"))
_DECORATION = r"[ \t\ufeff\xa0>*_#=-]*"
_HEADING = re.compile(
    rf"^{_DECORATION}(?:\d{{1,2}}[.)]{_BLANK}*)?(?:"
    rf"(?-i:(?P<capitals>[A-Z](?:[A-Z0-9 \t\xa0,/()&'._#+-]|(?<=\d):(?=\d\d)){{1,79}}?))"
    rf"[ \t\xa0*_]*(?::(?=[\s*_-]|\Z)|(?<=[A-Z]):(?=\d))"
    rf"|(?P<known>{_LINE})(?:{_BLANK}?\([\w ]{{1,30}}\))?[ \t\xa0*_]*[:：]"
    rf"|(?-i:(?=[A-Z]))(?P<alone>{_LINE})[ \t\xa0*_=#-]*(?=\r?$)"
    rf"|(?-i:(?P<marked>{_KNOWN})(?:\.|{_BLANK}+[-–—])(?=\s))"
    rf"|(?-i:(?=[A-Z]))(?P<dashed>{_KNOWN}){_BLANK}+[-–—](?=\s)"
    rf"|(?-i:(?=[A-Z]))(?P<signed>{_SIGNED})\b"
    rf")[*_]*"
    rf"|(?<=[\s.])(?<!; ){_ELSEWHERE}"
    rf"(?-i:(?P<within>{_MAIN}|Findings|Impression|Conclusion)){_BLANK}?:(?=\s|\Z|[A-Z\[*])"
    rf"|(?:(?<=[.!?:]\s)|(?<=[.!?:]\s\s))(?-i:(?=[A-Z]))"
    rf"(?P<after>{_KNOWN}|REPORT){_BLANK}?:(?=\s|\Z)",
    re.MULTILINE | re.IGNORECASE,
)
"""One of the groups holds the words. `service.bundle.report_text` has a table of the forms."""
_VIEWS = re.compile(
    rf"^{_DECORATION}(?P<views>[A-Za-z](?:[\w \t\xa0,/().&'-]|(?<=\d):(?=\d\d)){{1,79}}?)"
    rf"[ \t\xa0*_.]*"
    rf"(?:(?P<colon>:)(?=\s)|(?=\r?$))",
    re.MULTILINE,
)
"""A line, or what stands before its colon, that may name the views that were taken."""


def headings(text: str) -> list[Heading]:
    """Finds the headings of a report, in reading order."""
    found = [
        Heading(match.start(), match.end(), words, meaning(words))
        for match in _HEADING.finditer(text)
        if (words := _words(match[match.lastgroup or 0])) and _begins_here(match, text)
    ]
    starts = {heading.start for heading in found}
    found += (heading for heading in _views(text) if heading.start not in starts)
    return sorted(found, key=lambda heading: heading.start)


def _words(heading: str) -> str:
    return " ".join(re.sub(r"[,()*_#+]", " ", heading).upper().split()).strip(" .-")


def _begins_here(match: re.Match[str], text: str) -> bool:
    r"""Whether it is a heading in its place, rather than the end or the middle of a sentence.

    A colon after capitals makes a heading anywhere, but a word alone on a line may be the end of a
    sentence that was wrapped: "No acute\nfindings. Stable nodule."
    """
    written = match[match.lastgroup or 0]
    wrapped = match.lastgroup == "known" and written[0].islower() and not text.islower()
    alone = match.lastgroup == "alone" and meaning(_words(written)) not in (
        "findings",
        "impression",
        "both",
        "report",
    )
    if not (wrapped or alone or match.lastgroup in ("dashed", "marked")):
        return True
    return _follows_an_end(text, match.start())


def _follows_an_end(text: str, start: int) -> bool:
    """Whether the line before is blank, or ends a sentence or a heading."""
    before = text[max(0, start - 200) : start].rstrip(" \t\xa0\ufeff")
    return not before.strip() or before.rstrip()[-1] in ".!?:]*_-" or before.endswith("\n\n")


def _views(text: str) -> Iterator[Heading]:
    first = len(text) - len(text.lstrip())
    for match in _VIEWS.finditer(text):
        words, capitals = _words(match["views"]), match["views"].isupper()
        if meaning(words) == "views" and (
            match["colon"]
            or match.start() <= first
            or (capitals and not _CHEST.isdisjoint(words.split()))
            or (capitals and _follows_an_end(text, match.start()))
        ):
            yield Heading(match.start(), match.end(), words, "views")
