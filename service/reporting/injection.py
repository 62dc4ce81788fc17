"""Does a stored passage speak to whoever writes the report, instead of about a patient?

Such a passage is no evidence: neither does a language model read it, nor may a sentence cite it.
These are rules for plain cases. They know all of the twenty phrases that they were written on, and
two of ten others (tests/service/reporting/test_injection.py); of 12,995 passages of open_i
they leave out two. A passage that only lies is beyond them, as any false report is.
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
    """Whether the text reads as an instruction, or holds what delimits one."""
    return _CUES.search(text) is not None
