"""Makes any text a valid value of a DICOM text element (PS3.5 6.2)."""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that a text may not hold: of Unicode's control characters a text in UTF-8 keeps the
tab and the line feed, XML (which tools make of reports) takes no others, and lone surrogates have
no encoding."""
_BLANKS = re.compile(r"\s+")
_CUT = "…"


def long_text(text: str) -> str:
    """Returns the text as a value of UT: with line breaks CR LF, without other controls."""
    lines = _CONTROL.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n")).strip().split("\n")
    return "\r\n".join(line.rstrip() for line in lines)


def short_text(text: str, most: int = 64) -> str:
    """Returns the text as one value of LO or SH: one line, at most so many characters.

    A backslash, which would divide the value, becomes a slash.
    """
    line = _BLANKS.sub(" ", _CONTROL.sub(" ", text)).strip().replace("\\", "/")
    return line if len(line) <= most else line[: most - len(_CUT)].rstrip() + _CUT
