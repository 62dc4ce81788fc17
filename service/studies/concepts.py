"""Knows the coded concepts of structured reports: which are headings, and which name somebody.

The headings are those of CID 7001 and 7002 (PS3.16), in their DCM codes and the LOINC codes that
took their place. A concept of any other scheme is known by its meaning.
"""

import re
import unicodedata
from dataclasses import dataclass

from service.bundle.report_words import meaning
from service.studies.own_drafts import OWN_SCHEME

FINDINGS, IMPRESSION, RECOMMENDATION = "FINDINGS", "IMPRESSION", "RECOMMENDATION"
EXAMINATION, HISTORY, INDICATION = "EXAMINATION", "HISTORY", "INDICATION"
ADDENDUM = "ADDENDUM"
_CODES = {
    "DCM": {
        HISTORY: "121060 121061",
        "REQUEST": "121062 121063",
        EXAMINATION: "121058 121064 121065",
        "COMPARISON": "121066 121067 121068 121069",
        FINDINGS: "121070 121071",
        IMPRESSION: "121072 121073 121076 121077",
        RECOMMENDATION: "121074 121075",
        ADDENDUM: "121078",
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
        ADDENDUM: "55107-7",
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
_SILENT = frozenset({("DCM", "112039"), ("DCM", "112040"), ("DCM", "121049")})
"""Concepts whose values say nothing of the image: what tracks a lesion, and the language."""
_NAMING = re.compile(
    r"\b(?:accession|address|author|authenticat\w*|birth|cc|dictated|dob|facility|fax|hospital"
    r"|identifier|ids?|institution|mrn|names?|observer|operator|pager|phone|physicians?|provider"
    r"|radiologists?|resident|signature|signed|technologists?|telephone|transcri\w+|uid"
    r"|verif\w+)\b",
    re.IGNORECASE,
)
"""Words of a concept's meaning by which its value names somebody: `Referring Physician`."""
_TELLING = re.compile(r"\b(?:comment|narrative|note|report|text)s?\b", re.IGNORECASE)
"""Words by which it does not: `Radiologist Report`."""
_STATED = frozenset({"findings", "impression", "both"})
_HEADS = _STATED | {"description", "judgement", "background", "comment", "other"}
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
        return known or (self.own_heading if meaning(self._words) in _HEADS else None)

    @property
    def own_heading(self) -> str | None:
        """Its own words as a heading: in capitals without accents. None: it has none."""
        plain = unicodedata.normalize("NFKD", self._words).encode("ascii", "ignore").decode()
        return " ".join(plain.split()) if any(map(str.isalpha, plain)) else None

    @property
    def is_known(self) -> bool:
        """Whether its code is that of a heading."""
        return (self.scheme, self.value) in _HEADINGS

    @property
    def is_procedure(self) -> bool:
        """Whether its value is the procedure that is reported."""
        return (self.scheme, self.value) == _PROCEDURE_REPORTED

    @property
    def is_context(self) -> bool:
        """Whether its code is that of who observed whom, where and when."""
        return self.scheme == "DCM" and self.value.isdigit() and int(self.value) in _CONTEXT

    @property
    def is_silent(self) -> bool:
        """Whether its value says nothing of the image and names nobody.

        What a draft of this program said of other cases stays in a report that was made from it.
        """
        return (self.scheme, self.value) in _SILENT or self.scheme == OWN_SCHEME

    @property
    def names_somebody(self) -> bool:
        """Whether a short value of it says who somebody is, by the words of its meaning."""
        words = self.meaning
        describes = self.is_known or meaning(self._words) in _STATED or _TELLING.search(words)
        return not describes and bool(_NAMING.search(words))

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
