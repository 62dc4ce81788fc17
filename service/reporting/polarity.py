"""Does a sentence affirm or deny? A small rule set over the cues of radiology reports.

After Chapman et al. 2001 (NegEx): a cue denies what follows it up to a scope end.
"""

import re
from typing import Literal

Polarity = Literal["affirmed", "denied"]

_DENIAL = re.compile(
    r"\b(?:no|not|without|negative for|free of|absence of|absent|denies|rather than"
    r"|resolved|resolution of|ruled out|unlikely|clear|normal|unremarkable"
    r"|within normal limits|intact|well aerated)\b",
    re.IGNORECASE,
)
_FALSE_DENIAL = re.compile(
    r"\b(?:not? (?:significant(?:ly)? |interval |appreciable )?(?:change|changed)"
    r"|not excluded|cannot be excluded|not only|no longer normal|abnormal|not clear|not normal)\b",
    re.IGNORECASE,
)


def polarity(sentence: str) -> Polarity:
    """Whether the sentence denies findings ("No effusion.") or affirms one."""
    return "denied" if _DENIAL.search(_FALSE_DENIAL.sub("", sentence)) else "affirmed"
