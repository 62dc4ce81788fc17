"""Radiology reports as text: their sections, and the part of them that describes the image."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_HEADING = re.compile(
    r"^[ \t]*[A-Z][A-Z0-9 ,/()&'-]+:(?=\s|\Z)"
    r"|^[ \t]*FINAL (?:REPORT|ADDENDUM)[ \t]*$"
    r"|(?<=\s)(?:FINDINGS?|IMPRESSION):(?=\s|\Z)",
    re.MULTILINE,
)
_FINDINGS = re.compile(r"\bFINDINGS?\b")
_IMPRESSION = re.compile(r"\b(?:IMPRESSION|CONCLUSION)S?\b")
_BLANK_LINES = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it, both as written; the first section may have no heading.

    Headings and bodies of all sections, joined, are the report to the letter.
    """

    heading: str
    body: str

    @property
    def is_findings(self) -> bool:
        """Whether it describes the image."""
        return not self.is_impression and bool(_FINDINGS.search(self.heading))

    @property
    def is_impression(self) -> bool:
        """Whether it concludes; `FINDINGS AND IMPRESSION` does."""
        return bool(_IMPRESSION.search(self.heading))


def sections(text: str) -> list[Section]:
    """Split a report at its headings.

    A heading is a line's beginning in capitals before a colon, the line FINAL REPORT or FINAL
    ADDENDUM, or FINDINGS: and IMPRESSION: anywhere.
    """
    headings = list(_HEADING.finditer(text))
    starts = [heading.start() for heading in headings] + [len(text)]
    found = [Section("", text[: starts[0]])]
    for heading, end in zip(headings, starts[1:], strict=True):
        found.append(Section(heading.group(), text[heading.end() : end]))
    return found


def description(text: str) -> str:
    """The part of a report that a radiograph can answer for, on one line; empty if there is none.

    Findings and impression, else the impression, else the findings, else the last paragraph.
    """
    parts = sections(text)
    findings = _one_line(part.body for part in parts if part.is_findings)
    impression = _one_line(part.body for part in parts if part.is_impression)
    return titled(findings, impression) or _last_paragraph(parts)


def titled(findings: str, impression: str) -> str:
    """`FINDINGS: … IMPRESSION: …`, without the section that is blank."""
    named = (("FINDINGS", findings), ("IMPRESSION", impression))
    return " ".join(f"{name}: {_one_line([text])}" for name, text in named if text.strip())


def _last_paragraph(parts: list[Section]) -> str:
    paragraphs = (_one_line([text]) for part in parts for text in _BLANK_LINES.split(part.body))
    return next(reversed([text for text in paragraphs if text]), "")


def _one_line(texts: Iterable[str]) -> str:
    return " ".join(word for text in texts for word in text.split())
