"""Splits the text of a report into sentences, and knows those that are not about the image."""

import re
from collections.abc import Iterator
from itertools import pairwise

from service.bundle.report_words import meaning

_ITEM = re.compile(
    r"[ \t\xa0]*(?:(?P<bullet>[-+*>•·▪‣●–—])[ \t\xa0]+|\(?(?P<number>\d{1,2})[.)][ \t\xa0]*(?=\D))"
)
_LABEL = re.compile(r"[ \t\xa0]*([A-Z][A-Za-z /&]{1,39}):(?=\s)")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]*]* (?=[A-Z0-9\"(\[*])")
_ABBREVIATION = re.compile(
    r"\b(?:Drs?|DR|Prof|Mr|Mrs|Ms|vs|approx|ca|cf|e\.g|i\.e|Fig|St|Rt|Lt|Dept|[A-Z])\.$"
)
_HALF_OF_DAY = re.compile(r"\d ?[AaPp]\.?[Mm]\.$")
_LONGEST = len(" approx.")
_LIST_NUMBER = re.compile(r"(?:^| )(\d{1,2})\.$")
_DECIMAL = re.compile(r"(?:^|[^\d/])\d\. \d")
_TIME = re.compile(r"\b[AP]\.?M\b", re.IGNORECASE)
_LETTERS = re.compile(r"[^\W\d_]{2}")
_TOLD = (
    r"(?:called|communicated|conveyed|discussed|emailed|entered|informed|notified|paged|posted"
    r"|relayed|reported|telephoned|texted)"
)
_ADMINISTRATIVE = re.compile(
    # who was called: "These findings were discussed with Dr. Roe at 10 a.m."
    r"^[\W\d]*(?:(?:these|this|the|all|above|critical|urgent|important|preliminary|case|and|were"
    r"|was|have|been|has|had|that) )*"
    r"(?:(?:findings?|results?|report|reads?|study|exam\w*|images?|impressions?|recommendations?"
    rf"|information|case|above)\b.{{0,80}}?\b)?{_TOLD}\b.{{0,200}}"
    r"(?:\b(?:Dr|doctor|physician|nurse|team|clinician|telephone|phone|pager|dashboard)\b"
    r"|(?-i:\bED\b)|_{2,}|\d ?[AP]\.?M\b)"
    r"|^.{0,60}\b(?:Dr|physician|nurse|team|clinician)\b.{0,40}\bwas "
    r"(?:called|informed|notified|paged)\b"
    r"|\b(?:preliminary|wet) read was\b"
    # who read and signed
    r"|^(?-i:(?:Dr|DR|Prof)\.? (?!\w+['’]s)[A-Z_])|(?-i:\bM\.?D\.?(?:, ?[A-Z][\w.]*)*$)"
    r"|(?-i:\b(?:FRCR|GMC)\b)|\bsigned by\b|\bpersonally reviewed\b"
    r"|\breviewed (?:the|these|all) (?:images|films|study)\b.{0,60}\b(?:agree|concur)"
    r"|^(?:the )?(?:attending|consultant|interpreting|staff) (?:radiologist|staff)\b"
    r"|^(?:electronically )?(?:authori[sz]ed|dictated|printed|signed|transcribed|typed|verified)\b"
    # phrases of letters and templates
    r"|\b(?:voice|speech)[- ]recognition\b|\bevery effort\b|\bconfidential|\bconsult line\b"
    r"|^(?:kind regards|please (?:call|contact|do not hesitate)|thank you for|workstation|yours)\b"
    r"|^page \d+ of\b|\bdiagnostic code\b|\breport has been anonymi[sz]ed\b"
    r"|\bend of (?:the )?report\b",
    re.IGNORECASE,
)
_UNFINISHED = re.compile(r"(?:,|\b(?:and|by|from|of|that|the|to|with))\s*$", re.IGNORECASE)


def sentences(body: str) -> list[str]:
    r"""Splits text into sentences, each on one line, otherwise as written.

    A sentence ends at a stop, at a blank line and before a list's next item on a new line. The full
    stop of a number ("1.5 cm", also broken: "1. 5 cm"), of an abbreviation ("Dr.", "vs.") or of an
    item's number ends none. Example: "1. Mild edema.\n2. T. Smith was called." → two sentences.
    """
    return [sentence for item in _items(body) for sentence in _sentences(" ".join(item.split()))]


def is_administrative(sentence: str) -> bool:
    """Decides whether a sentence is about the reading rather than the image, or is no words at all.

    Example: "Discussed with Dr. Roe by telephone." It is neither evidence nor training text.
    """
    return bool(_ADMINISTRATIVE.search(sentence)) or not _LETTERS.search(_TIME.sub("", sentence))


def has_words(text: str) -> bool:
    """Decides whether a text has a letter or a digit."""
    return re.search(r"[^\W_]", text) is not None


def _items(body: str) -> Iterator[str]:
    r"""Paragraphs, and the lines that begin something new; bullets and rules are left out.

    A line begins something new if it begins with a bullet, with a body part and a colon ("Heart:
    normal") or with a number that is 1 or counts on (but not the 2 in "grade\n2. Clear."), and if
    it is administrative ("Dr. Roe was called").
    """
    lines: list[str] = []
    number = 0
    for line in body.splitlines():
        item, label = _ITEM.match(line), _LABEL.match(line)
        counts = item and item["number"] and int(item["number"]) in (1, number + 1)
        is_label = label and meaning(label[1].strip().upper()) == "anatomy"
        begins = (item and item["bullet"]) or counts or is_label or _is_apart(line, lines)
        if begins or not has_words(line):
            yield " ".join(lines)
            lines = []
        number = int(item["number"]) if item and counts else number
        if has_words(line):
            lines.append(line[item.end() :] if item and item["bullet"] else line)
    yield " ".join(lines)


def _is_apart(line: str, before: list[str]) -> bool:
    """Whether an administrative line does not go on with the line before."""
    finished = bool(before) and not _UNFINISHED.search(before[-1])
    return finished and line.lstrip()[:1].isupper() and is_administrative(line.strip())


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
    return [piece for piece in pieces if has_words(piece)]


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
    return _DECIMAL.fullmatch(line[max(0, end.start() - 3) : end.end() + 1]) is not None
