"""Decides whether a clause of a radiology report affirms or denies a finding.

The rules follow NegEx (Chapman et al. 2001, J Biomed Inform 34:301). Negators ("no", "without") and
negative words ("absent", "clear") deny. Phrases that only look like a denial are replaced first:
"cannot be ruled out" → "possible", "has not resolved" → "persistent". A clause whose cues can be
read either way is `unclear`.
"""

import re
from typing import Literal

Polarity = Literal["affirmed", "denied", "unclear"]

_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": " ", "”": " ", "…": " ", "–": "-", "—": "-"})
_REFUTED = r"ruled out|excluded|unlikely"
_GONE = r"absent|resolved|cleared|disappeared|gone|negative for|free (?:of|from)|clear of"
_NORMAL = r"within normal limits|well aerated|normal|clear|unremarkable|intact"
_LOSS = r"resolution|absence|lack"
_NOT = r"\b(?:not|never|no longer)(?: (?:be|been|being|yet|\w+ly))*"
_PARTLY = r"\b(?:incomplete|partial|near|almost|partly|(?:incomplete|partial|near|large|most)ly)"
_PLAIN = [
    (re.compile(r"n't\b|(?<=\bcan)not\b"), " not"),
    (re.compile(r"\bnon[ -]"), "non"),
    (re.compile(r"(?<=\w)-(?=\w)"), " "),
    (re.compile(r"\b(?:no|not|without) (?:\w+ )?changed?\b"), "unchanged"),
    (re.compile(r"\bnot only\b"), ""),
    (re.compile(rf"{_NOT} (?:{_REFUTED})\b|\bnot exclude\b"), "possible"),
    (re.compile(rf"{_NOT} (?:{_GONE})\b"), "persistent"),
    (re.compile(rf"{_NOT} (?:{_NORMAL})\b"), "abnormal"),
    (re.compile(rf"(?:\b(?:no|without)|{_PARTLY}) (?:{_LOSS})(?: of)?\b"), "persistent"),
    (re.compile(rf"{_PARTLY} (?:resolved|cleared)\b"), "persistent"),
]
CUE = re.compile(
    r"\b(?:(?P<negator>no(?! longer)|no longer|not|none|without|never|neither|nor)"
    rf"|(?P<open>rule out|exclude)|(?P<normal>(?!clear of){_NORMAL})"
    rf"|{_GONE}|{_REFUTED}|excludes|denies|(?:{_LOSS}) of|lacks|rather than|instead of)\b"
)
"""Words that deny. Groups: `negator` denies what follows, `normal` calls a structure normal, `open`
leaves the question open."""


def normalise(text: str) -> str:
    """Returns the text in lower case, with each denial of a denial replaced by what it says.

    Example: "Effusion has not resolved." → "effusion has persistent." Normalising twice changes
    nothing.
    """
    text = text.lower().translate(_TYPOGRAPHY)
    for cue, meaning in _PLAIN:
        text = cue.sub(meaning, " ".join(text.split()))
    return " ".join(text.split())


def polarity(clause: str) -> Polarity:
    """Decides whether the clause denies a finding ("No effusion", "The lungs are clear")."""
    cues = [cue.lastgroup for cue in CUE.finditer(normalise(clause))]
    negators, normals = cues.count("negator"), cues.count("normal")
    if "open" in cues or negators > 1 or normals > 1 or 0 < negators < len(cues):
        return "unclear"
    return "denied" if cues else "affirmed"
