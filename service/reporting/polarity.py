"""Decides whether a clause of a radiology report affirms or denies a finding.

The rules follow NegEx (Chapman et al. 2001, J Biomed Inform 34:301). Negators ("no", "without") and
negative words ("absent", "clear") deny. Phrases that only look like a denial are replaced first
(`service.reporting.pseudo_negations`): "no interval change in" → "unchanged", "cannot be ruled out"
→ "possible", "has not resolved" → "persistent". A clause whose cues can be read either way is
`unclear`. docs/negation.md shows each rule by an example.
"""

import re
from typing import Literal

from service.reporting.pseudo_negations import GONE, LOSS, NORMAL, PLAIN, REFUTED

Polarity = Literal["affirmed", "denied", "unclear"]

_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": " ", "”": " ", "…": " ", "–": "-", "—": "-"})
_SHOW = r"(?:reveal|show|demonstrate|identify|detect|disclose|visuali[sz]e|see|find|appreciate)"
CUE = re.compile(
    rf"\b(?:(?P<negator>no(?! longer)|no longer|nil|not|none|nothing|without|never|neither|nor"
    rf"|(?:fail(?:s|ed|ure)?|unable) to {_SHOW})"
    r"|(?P<open>rule out|exclude|undecided|whether|excluding|less (?:likely|probable)|doubt(?:ful)?"
    r"|low (?:suspicion|likelihood|probability)|(?:argu|speak|evidence|finding)\w* against"
    r"|clear(?:ing|ance) (?:of|in)|(?:evaluat|assess|look|search|screen)\w* for)"
    rf"|(?P<normal>(?!clear of)(?:{NORMAL}))"
    rf"|{GONE}|{REFUTED}|excludes|rules out|denie[sd]|denying|(?:{LOSS}) of|removal|lacks"
    r"|rather than|instead of)\b"
)
"""Words that deny. Groups: `negator` denies what follows, `normal` calls a structure normal, `open`
leaves the question open."""


def normalise(text: str) -> str:
    """Returns the text in lower case, with each phrase that only looks like a denial replaced.

    Example: "Effusion has not resolved." → "effusion has persistent."
    """
    text = " ".join(text.lower().translate(_TYPOGRAPHY).split())
    for cue, meaning in PLAIN:
        text, replaced = cue.subn(meaning, text)
        if replaced:
            text = " ".join(text.split())
    return text


def polarity(clause: str) -> Polarity:
    """Decides whether the clause denies a finding ("No effusion", "The lungs are clear")."""
    return polarity_of_normalised(normalise(clause))


def polarity_of_normalised(clause: str) -> Polarity:
    """Decides it for a part of a normalised text.

    A part is not normalised again: without its "or", "no new or worsening effusion" would read as
    "no worsening …".
    """
    cues = [cue.lastgroup for cue in CUE.finditer(clause)]
    if "open" in cues or len(cues) > 1:
        return "unclear"
    return "denied" if cues else "affirmed"
