"""Report text → passages: one sentence each, as written, with the section it stands in."""

import re
from itertools import pairwise

from service.cases.schema import Passage

UNTITLED = "report"
_HEADER = re.compile(
    r"(?:^|(?<=[\s.]))([A-Z][A-Z /&]{2,40}?|(?m:^)(?i:findings|impression|indication|history"
    r"|technique|comparison|conclusion|recommendation)) ?:(?=\s|$)"
)
_SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z0-9\"(])")
_ABBREVIATION = re.compile(r"\b(?:Dr|Mr|Mrs|Ms|vs|approx|No|Fig|St|[A-Z])\.$")
_LONGEST = len(" approx.")
_LIST_NUMBER = re.compile(r"(?:^| )(\d{1,2})\.$")


def split_report(report: str, study_id: str) -> tuple[Passage, ...]:
    """Sentences in reading order; ids are `study_id/section/ordinal`."""
    passages: list[Passage] = []
    for section, body in _sections(report):
        for sentence in _sentences(body):
            passage_id = f"{study_id}/{section}/{len(passages)}"
            passages.append(Passage(id=passage_id, section=section, text=sentence))
    return tuple(passages)


def _sections(report: str) -> list[tuple[str, str]]:
    """(lower-case header, body) pairs; text before any header is `report`."""
    parts = _HEADER.split(report)
    titled = zip(parts[1::2], parts[2::2], strict=True)
    named = [(header.strip().lower(), body) for header, body in titled]
    return [(name, body) for name, body in [(UNTITLED, parts[0]), *named] if body.strip()]


def _sentences(body: str) -> list[str]:
    """Split at sentence ends; an abbreviation's or a list number's full stop is no end."""
    body = " ".join(body.split())
    starts, number = [0], 0
    for end in _SENTENCE_END.finditer(body):
        tail = body[max(starts[-1], end.start() - _LONGEST) : end.start()]
        listed = _list_number(tail, number, begins=len(tail) == end.start() - starts[-1])
        if listed is not None:
            number = listed
        elif not _ABBREVIATION.search(tail) and not _is_decimal(body, end):
            starts.append(end.end())
            number = 0
    pieces = [body[a:b].rstrip() for a, b in pairwise([*starts, len(body)])]
    return [piece for piece in pieces if re.search(r"\w", piece)]


def _list_number(tail: str, last: int, *, begins: bool) -> int | None:
    """The number that ends the tail, if it begins a sentence, or counts on in a sentence's list."""
    match = _LIST_NUMBER.search(tail)
    if match is None:
        return None
    number = int(match[1])
    return number if (begins and match.start() == 0) or (last and number == last + 1) else None


def _is_decimal(body: str, end: re.Match[str]) -> bool:
    """Whether a line was broken inside a number: "1. 5 cm"."""
    return re.fullmatch(r"\d\. \d", body[max(0, end.start() - 2) : end.end() + 1]) is not None
