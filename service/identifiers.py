"""Says which ids of patients and studies are accepted, and which of them are the same.

Every way in takes an id by this rule: paths, bodies, queries, manifests and the command line. An id
travels in a URL, and proxies rewrite URLs: they decode `%2F`, merge `//` and resolve `..`. So the
rule leaves out what would then name another study.
"""

import re
import unicodedata
from typing import Annotated, Any

from pydantic import BeforeValidator, StringConstraints
from pydantic_core import PydanticCustomError

from service.errors import RequestMalformed

LONGEST = 256
"""Characters: the longest id."""
RULE = (
    f"An id must have 1 to {LONGEST} printable characters, and no blank but the space. Between "
    "slashes, no part may be empty, `.` or `..`. The end must not be `/image`"
)
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
"""Letters and marks that show nothing, such as fillers, though Python calls them printable."""
_PADDING = "\0 \t\r\n"
"""Characters that DICOM and tables add at the ends of a value (PS3.5 6.2)."""
_RESOLVED = {"", ".", ".."}
"""Parts of a path that clients and proxies remove."""
_REPLACEMENT = "\ufffd"
"""What a decoder writes for bytes that are not in its encoding: many ids would become one."""


def canonical(value: str) -> str:
    """Returns the id in the form in which ids are compared. Raises RequestMalformed.

    Blanks at the ends are removed, and letters are composed (Unicode NFC). Letter case counts.
    Example: "é1 " in NFD and "é1" in NFC are the same id; "MRN1" and "mrn1" are two.
    """
    plain = unicodedata.normalize("NFC", value.strip(_PADDING))
    visible = plain.isprintable() and not _INVISIBLE.search(plain)
    if not 0 < len(plain) <= LONGEST or not visible or _REPLACEMENT in plain:
        raise RequestMalformed(f"{RULE}.")
    if _RESOLVED.intersection(plain.split("/")) or plain.endswith("/image"):
        raise RequestMalformed(f"{RULE}.")
    return plain


def _field(value: Any) -> Any:
    """Returns the id of a field. A text that breaks the rule is an error of that field."""
    if not isinstance(value, str):
        return value
    try:
        return canonical(value)
    except RequestMalformed:
        raise PydanticCustomError("identifier", RULE) from None


Identifier = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST, pattern=r"\S"),
    BeforeValidator(_field),
]
"""An id as a field of a request, a manifest or a path."""
