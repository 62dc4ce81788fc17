"""Detects stored passages that instruct the writer of a report, instead of describing a patient.

Such a passage is left out of the evidence: no language model reads it and no sentence cites it. The
rules catch plain cases only: all of the 20 phrases that they were written for, and 2 of 10 others
(tests/service/reporting/test_injection.py). Of 12,995 passages of open_i they leave out 2.
They cannot catch a passage that is simply false.
"""

import re

_SAYING = r"(?:write|answer|output|respond|reply|say|state|cite|print|conclude)"
_ONLY = r"(?:repeat after|report (?:that|only|no)|(?:do not|never) (?:mention|report))"
_LEAD = r"(?:^|[.;:,!?\"'(]|\b(?:and|then|now|only|just|always|please|must|instead|not|never))\s*"
_CUES = re.compile(
    r"\binstructions?\b|\b(?:system|your|the) prompt\b|\byou(?:r|rself)?\b"
    r"|\bas an? (?:ai|assistant|language model)\b|\b(?:the|an) ai\b|\b(?:llm|chatbot)\b"
    r"|\bthe (?:model|assistant|writer)\b"
    r"|\bfrom now on\b|\bprecedence\b|\brules?\b(?! out)|\bkindly\b"
    r"|\b(?:ignor|disregard|forget|overrid)(?:e|es|ing)?\b"
    r"|^\W*(?:system|assistant|user|developer|human)\s*[:,]"
    r"|\b(?:system|developer) (?:mode|message)\b"
    rf"|{_LEAD}(?:{_SAYING}\b(?! to\b)|{_ONLY}\b)"
    r"|\bmust be (?:told|reported|written|stated|said)\b"
    r"|[{}]|</?(?!br\b)[a-z_]+ ?/?>|\[/?(?:inst|sys|system|user|assistant)\]|```|<\|",
    re.IGNORECASE,
)


def instructs(text: str) -> bool:
    """Decides whether the text reads as an instruction, or contains delimiters of a prompt."""
    return _CUES.search(text) is not None
