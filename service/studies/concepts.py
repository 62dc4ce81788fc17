"""Knows the coded concepts of structured reports: which are headings, and which name somebody.

The headings are those of CID 7001 and 7002 (PS3.16), in their DCM codes and the LOINC codes that
took their place. A concept of any other scheme is known by its meaning.
"""

import re
from dataclasses import dataclass

from service.bundle.report_words import meaning

FINDINGS, IMPRESSION, RECOMMENDATION = "FINDINGS", "IMPRESSION", "RECOMMENDATION"
EXAMINATION, HISTORY, INDICATION = "EXAMINATION", "HISTORY", "INDICATION"
_CODES = {
    "DCM": {
        HISTORY: "121060 121061",
        "REQUEST": "121062 121063",
        EXAMINATION: "121058 121064 121065",
        "COMPARISON": "121066 121067 121068 121069",
        FINDINGS: "121070 121071",
        IMPRESSION: "121072 121073 121076 121077",
        RECOMMENDATION: "121074 121075",
        "ADDENDUM": "121078",
        INDICATION: "121109",
        "CLINICAL PRESENTATION": "121110",
        "SUMMARY": "121111",
        "COMPLICATIONS": "121113",
    },
    "LN": {
        HISTORY: "11329-0 55752-0",
        "REQUEST": "55115-0",
        EXAMINATION: "18836-7 55111-9",
        "COMPARISON": "18834-2 55114-3",
        FINDINGS: "18782-3 59776-5",
        IMPRESSION: "19005-8 55110-1",
        RECOMMENDATION: "18783-1",
        "ADDENDUM": "55107-7",
        INDICATION: "18785-6",
        "CLINICAL PRESENTATION": "55108-5",
        "SUMMARY": "55112-7",
        "COMPLICATIONS": "55109-3",
    },
}
_HEADINGS = {
    (scheme, code): heading
    for scheme, headings in _CODES.items()
    for heading, codes in headings.items()
    for code in codes.split()
}
_PROCEDURE_REPORTED = ("DCM", "121058")
_CONTEXT = range(121005, 121037)
"""DCM codes of who observed, whom, with what device and in which procedure (TID 1001 to 1009)."""
_NAMING = re.compile(
    r"\b(?:accession|address|author|authenticat\w*|birth|cc|dictated|dob|facility|fax|hospital"
    r"|identifier|ids?|institution|mrn|names?|observer|operator|pager|phone|physicians?|provider"
    r"|radiologists?|resident|signature|signed|technologists?|telephone|transcri\w+|uid"
    r"|verif\w+)\b",
    re.IGNORECASE,
)
"""Words of a concept's meaning by which its value names somebody: `Referring Physician`."""
_HEADS = frozenset({"findings", "impression", "both", "description", "judgement", "background"})
_HEADS_MORE = _HEADS | {"comment", "other"}
_LONGEST = 60
"""Characters of a meaning that becomes a label or a heading."""


@dataclass(frozen=True, slots=True)
class Concept:
    """A coded concept: its scheme, its value and what it means. All are empty for none."""

    scheme: str = ""
    value: str = ""
    meaning: str = ""

    @property
    def heading(self) -> str | None:
        """The heading that it stands for, by its code or by its meaning. None: it is none."""
        known = _HEADINGS.get((self.scheme, self.value))
        return known or (self._plain.upper() if meaning(self._words) in _HEADS_MORE else None)

    @property
    def is_known(self) -> bool:
        """Whether its code is that of a heading."""
        return (self.scheme, self.value) in _HEADINGS

    @property
    def is_procedure(self) -> bool:
        """Whether its value is the procedure that is reported."""
        return (self.scheme, self.value) == _PROCEDURE_REPORTED

    @property
    def names_somebody(self) -> bool:
        """Whether its value says who or where somebody is."""
        is_context = self.scheme == "DCM" and self.value.isdigit() and int(self.value) in _CONTEXT
        return is_context or (not self.is_known and bool(_NAMING.search(self.meaning)))

    @property
    def label(self) -> str:
        """The words to put before a value; empty where they would be read as a heading."""
        return self._plain if meaning(self._words) in ("anatomy", "unknown") else ""

    @property
    def _plain(self) -> str:
        """Its meaning in the characters that a heading may have."""
        return " ".join(re.sub(r"[^\w /&+-]+", " ", self.meaning).split())[:_LONGEST]

    @property
    def _words(self) -> str:
        return self._plain.upper()
