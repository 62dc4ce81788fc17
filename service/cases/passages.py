"""Report text → passages: one sentence each, as written, with the section it stands in."""

import re

from service.cases.schema import Passage

UNTITLED = "report"
_HEADER = re.compile(
    r"(?:^|(?<=[\s.]))([A-Z][A-Z /&]{2,40}?|(?m:^)(?i:findings|impression|indication|history"
    r"|technique|comparison|conclusion|recommendation)) ?:(?=\s|$)"
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"(])")
_ABBREVIATION = re.compile(r"(?:\b(?:Dr|Mr|Mrs|Ms|vs|approx|No|Fig|St)|\b[A-Z]|\d)\.$")
_NUMBERED = re.compile(r"^\d{1,2}\.$")


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
    sentences: list[str] = []
    for piece in _SENTENCE_END.split(" ".join(body.split())):
        if sentences and _continues(sentences[-1]):
            sentences[-1] = f"{sentences[-1]} {piece}"
        else:
            sentences.append(piece)
    return [sentence for sentence in sentences if re.search(r"\w", sentence)]


def _continues(sentence: str) -> bool:
    return bool(_NUMBERED.match(sentence) or _ABBREVIATION.search(sentence))
