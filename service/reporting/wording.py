"""Reads what a stretch of a report is about: the words of its subject, and their particulars.

Particulars are sides, places, severities, numbers and course. Example: "no small left effusions" →
words {effusion}, particulars {small, left}.
"""

import re

from service.reporting.polarity import CUE
from service.reporting.vocabulary import GRAMMAR, fold

NORMAL = "normal"
"""The word that stands for every way to call a structure normal ("clear", "unremarkable")."""
SIDES = frozenset({"left", "right", "bilateral"})
SEVERITY = re.compile(
    r"\b(?:trace|tiny|small|medium|large|massive"
    r"|(?:minimal|slight|mild|moderate|marked|severe)(?:ly)?)\b"
)
TOKEN = re.compile(
    r"(?:(?:up to|at (?:least|most)|(?:less|more|greater|smaller|larger) than|[<>]) ?)?"
    r"\d+(?:\.\d+)?(?: ?(?:cm|mm)\b(?: (?:from|above|below|proximal|distal|inferior|superior)\b)?)?"
    r"|[^\W\d_]+"
)
"""A word, or a number with its unit and bound. "3 cm from" is a distance, and no size."""
DOUBT = re.compile(
    r"\b(?:may|might|could|possibl[ey]|probabl[ey]|likely|suspected|questionable|question"
    r"|possibility|consider(?:ed|ation)?|differential|query"
    r"|(?:concern(?:ing)?|suspicious|worrisome) for)\b|\?"
)
_OPPOSITES = (frozenset({"left", "right"}), frozenset({"upper", "lower"}))
_COURSE = (
    r"(?:increas|decreas|improv|progress|evol|regress|reduc|deteriorat|grow)\w*|worse|worsen\w*|better"
    r"|enlarging|enlargements?|larger|bigger|smaller|wider|denser"
)
_PARTICULAR = re.compile(
    rf".*\d.*|{'|'.join(sorted(SIDES))}|{SEVERITY.pattern}"
    r"|upper|lower|mid|middle|apical|apex|apices|basal|basilar|bases?|anterior|posterior|above|below"
    r"|new|old|acute|chronic|stable|unchanged|persistent|resolving|clearing|abnormal|changed?|changes"
    r"|other|additional|further|residual|recurren(?:t|ce)|reaccumulation|remaining|associated|significant|interval"
    rf"|(?:non)?(?:{_COURSE})|nonenlarged?"
)
_PLACES = frozenset({"base", "apex"})
"""Particulars that a clause may also be about: "The left base is clear"."""
_FILLER = GRAMMAR | {
    "after", "again", "also", "both", "completely", "following", "i", "indicate", "indication",
    "likely", "now", "post", "previously", "remain", "remains", "status", "suggest", "suggesting",
    "suggestion", "suggestive",
}  # fmt: skip
"""Words that a clause is never about."""


def words(text: str) -> frozenset[str]:
    """Returns the words of the subject: "no small left effusions" → {effusion}."""
    tokens = {fold(token) for token in TOKEN.findall(CUE.sub(" ", text)) if token not in _FILLER}
    about = {t for t in tokens - _FILLER if t in _PLACES or not _PARTICULAR.fullmatch(t)}
    normal = any(cue.lastgroup == "normal" for cue in CUE.finditer(text))
    return frozenset(about | {NORMAL} if normal else about)


def particulars(text: str) -> frozenset[str]:
    """Returns the particulars: "small left effusion" → {small, left}.

    If opposite sides or levels, or two severities occur, all are kept as one ordered string. So are
    several numbers.
    """
    tokens = [token.replace(" ", "") for token in TOKEN.findall(text)]
    numbers = [token for token in tokens if any(sign.isdigit() for sign in token)]
    found = [fold(t) for t in tokens if _PARTICULAR.fullmatch(t) and t not in numbers]
    degrees = [token for token in found if SEVERITY.fullmatch(token)]
    ordered = len(degrees) > 1 or any(pair.issubset(found) for pair in _OPPOSITES)
    kept = [" ".join(found)] if ordered else found
    return frozenset([*kept, " ".join(numbers)]) - {""}


def says_something(text: str) -> bool:
    """Decides whether the text holds a word, a particular, a cue or a doubt.

    Example: "there is" and "of the" say nothing; "left", "absent" and "possible" do.
    """
    return bool(words(text) or particulars(text) or CUE.search(text) or DOUBT.search(text))
