"""Does a clause affirm or deny? A small rule set over the cues of radiology reports.

After NegEx (Chapman et al. 2001, J Biomed Inform 34:301): negators and negative words deny, and
what only looks like a denial ("cannot be ruled out", "has not resolved") is put in plain words
first. A clause whose cues could be read either way is `unclear`.
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


def normalise(text: str) -> str:
    """Lower-case, with a denial of a denial put as what it says; plain text stays as it is."""
    text = text.lower().translate(_TYPOGRAPHY)
    for cue, meaning in _PLAIN:
        text = cue.sub(meaning, " ".join(text.split()))
    return " ".join(text.split())


def polarity(clause: str) -> Polarity:
    """Whether the clause denies a finding ("No effusion", "The lungs are clear") or affirms it."""
    cues = [cue.lastgroup for cue in CUE.finditer(normalise(clause))]
    negators, normals = cues.count("negator"), cues.count("normal")
    if "open" in cues or negators > 1 or normals > 1 or 0 < negators < len(cues):
        return "unclear"
    return "denied" if cues else "affirmed"
