"""Recognises the headings of radiology reports, and what each says of the text below it.

The words are those of published lists of MIMIC-CXR's and CheXpert's section names, of Open-i and of
dictation templates.
"""

import re
from difflib import get_close_matches
from typing import Literal

Meaning = Literal[
    "findings", "impression", "both", "report", "views", "anatomy", "background", "other", "unknown"
]
"""What a heading says of its text.

findings, impression, both: that it describes the image, concludes, or does both. report: that a
report begins. views: what was taken ("CHEST, TWO VIEWS"). anatomy: which body part a sentence is
about. background: what was known before (history, comparison, technique). other: anything else.
unknown: nothing that this module knows.
"""

# fmt: off
_FINDINGS = ("FINDING", "FINDINGS")
_IMPRESSION = ("IMPRESSION", "IMPRESSIONS", "CONCLUSION", "CONCLUSIONS", "OPINION")
_DESCRIPTION = ("DESCRIPTION", "OBSERVATION", "OBSERVATIONS", "RESULT", "RESULTS")
_JUDGEMENT = ("ASSESSMENT", "DIAGNOSIS", "DIAGNOSES", "INTERPRETATION", "SUMMARY")
"""Words that mean findings or an impression only without a word of background."""
_BACKGROUND = (
    "COMPARISON", "COMPARISONS", "EXAM", "EXAMINATION", "HISTORY", "INDICATION", "INDICATIONS",
    "INFORMATION", "PROCEDURE", "REASON", "STUDY", "TECHNIQUE",
)
_OTHER = (
    "ADDENDUM", "ATTENDING", "COMMENT", "COMMENTS", "COMMUNICATION", "DATE", "DICTATED",
    "NOTIFICATION", "RADIOLOGIST", "RECOMMENDATION", "RECOMMENDATIONS", "SIGNED",
)
_QUALIFYING = (
    "ADDITIONAL", "BRIEF", "CHEST", "CLINICAL", "DATA", "DETAILS", "ELECTRONICALLY", "END",
    "EXAMS", "FILM", "FINAL", "INCIDENTAL", "MEDICAL", "OTHER", "PAST", "PATIENT", "PRIOR",
    "RELEVANT", "STUDIES",
)
_JOINING = ("AND", "BY", "FOR", "OF", "THE", "TYPE")
_NOT_OF_THE_IMAGE = frozenset((
    "ADMITTING", "CLINICAL", "COMMUNICATION", "CRITICAL", "END", "LABORATORY", "NOTIFICATION",
    "PREVIOUS", "PRIOR", "PROVISIONAL", "REFERENCE", "WORKING",
))
"""Words that no heading of a description has: `CLINICAL DIAGNOSIS`, `END OF IMPRESSION`."""
_VIEW = frozenset((
    "AP", "CXR", "FILM", "FILMS", "FRONTAL", "LATERAL", "PA", "PORTABLE", "PROJECTION",
    "PROJECTIONS", "RADIOGRAPH", "RADIOGRAPHS", "SUPINE", "UPRIGHT", "VIEW", "VIEWS", "X-RAY",
    "X-RAYS", "XRAY", "XRAYS",
))
_WITH_A_VIEW = _VIEW | frozenset((
    "A", "AM", "AND", "AT", "BEDSIDE", "CHEST", "DECUBITUS", "ERECT", "IMAGE", "IMAGES", "LAT",
    "LEFT", "LORDOTIC", "OBLIQUE", "OF", "ONE", "PM", "PORT", "RIGHT", "SEMI-ERECT",
    "SEMI-UPRIGHT", "SEMIERECT", "SEMIUPRIGHT", "SINGLE", "THE", "THREE", "TWO", "WITH",
))
_ANATOMY = frozenset((
    "ABDOMEN", "AIRWAY", "AIRWAYS", "AORTA", "BONE", "BONES", "BONY", "CARDIAC",
    "CARDIOMEDIASTINAL", "CARDIOMEDIASTINUM", "CATHETERS", "CHEST", "DEVICES", "DIAPHRAGM",
    "DIAPHRAGMS", "HEART", "HILA", "HILAR", "HILUM", "LINES", "LUNG", "LUNGS", "MEDIASTINAL",
    "MEDIASTINUM", "OSSEOUS", "OTHER", "PARENCHYMA", "PLEURA", "PLEURAL", "PULMONARY", "RIBS",
    "SKELETON", "SPINE", "THORAX", "TISSUE", "TISSUES", "TRACHEA", "TUBES", "VASCULARITY",
    "VASCULATURE", "VESSELS",
))
_WITH_ANATOMY = _ANATOMY | frozenset((
    "AND", "CONTOUR", "CONTOURS", "LEFT", "LOWER", "OF", "RIGHT", "SILHOUETTE", "SIZE", "SOFT",
    "SPACE", "SPACES", "STRUCTURES", "SUPPORT", "THE", "UPPER", "ZONE", "ZONES",
))
# fmt: on
_TITLE = re.compile(
    r"(?:(?:FINAL|PRELIMINARY|RADIOLOGY|RADIOLOGICAL|X-RAY|CHEST) )*"
    r"(?:REPORT|NARRATIVE|TEXT|BODY|FULL TEXT)"
)
_MISSPELT = 0.87
"""Least `difflib` similarity to a known heading: `IMORESSION` has .90, `COMPRESSION` .86."""


def _phrase(*words: tuple[str, ...]) -> str:
    """A pattern: one of `words`, with few of these and of the words that go with them about it."""
    known = "|".join(word for group in words for word in group)
    beside = "|".join((known, *_QUALIFYING, *_JOINING))
    gap = r"(?:[ \t]*[/&,+][ \t]*|[ \t]+)"
    return rf"(?:(?:{beside})\b{gap}){{0,4}}(?:{known})\b(?:{gap}(?:{beside})\b){{0,3}}"


_KNOWN = _phrase(_FINDINGS, _IMPRESSION, _DESCRIPTION, _JUDGEMENT, _BACKGROUND, _OTHER)
_MAIN = _phrase(
    _FINDINGS, _IMPRESSION, _BACKGROUND, ("ADDENDUM", "NOTIFICATION", "RECOMMENDATIONS?")
)
_LINE = rf"(?:{_KNOWN}|WET READ|{_TITLE.pattern.replace(' ', '[ ]')})"
_DECORATION = r"[ \t\ufeff\xa0>*_#=-]*"
HEADING = re.compile(
    rf"^{_DECORATION}(?:\d{{1,2}}[.)][ \t]*)?(?:"
    r"(?-i:([A-Z](?:[A-Z0-9 \t,/()&'._#+-]|(?<=\d):(?=\d\d)){1,79}?))[ \t*_]*:(?=\s|\*|_|\Z)"
    rf"|({_LINE})[ \t*_]*[:：]"
    rf"|(?-i:(?=[A-Z]))({_LINE})[ \t*_=#-]*(?=\r?$)"
    rf"|(?-i:({_KNOWN})(?:\.|[ \t]+[-–—])(?=\s))"
    r")[*_]*"
    rf"|(?<=[\s.;])(?-i:({_MAIN}))[ \t]?:(?=\s|\Z|[A-Z\[*])"
    rf"|(?<=[.!?]\s)(?-i:(?=[A-Z]))({_MAIN})[ \t]?:(?=\s|\Z)",
    re.MULTILINE | re.IGNORECASE,
)
"""A heading; one of its groups holds its words. See `service.bundle.report_text` for its forms."""
VIEWS_ALONE = re.compile(
    rf"^{_DECORATION}([A-Za-z][\w ,/().&'-]{{1,79}}?)[ \t*_]*(?=\r?$)", re.MULTILINE
)
"""A line that may name the views that were taken, without a colon."""


def words_of(heading: re.Match[str]) -> str:
    """Returns a heading's words in capitals, without punctuation.

    Example: `**Chest, two views:**` → `CHEST TWO VIEWS`.
    """
    written = next(group for group in heading.groups() if group is not None)
    return " ".join(re.sub(r"[,()*_#+]", " ", written).upper().split()).strip(" .-")


def meaning(heading: str) -> Meaning:
    """Returns what a heading, as `words_of` gives it, says of the text below it.

    Examples: `CHEST FINDINGS` → findings; `IMPRESSION/RECOMMENDATION` → impression;
    `STUDY DESCRIPTION` → background; `PORTABLE AP CHEST` → views; `LEFT LUNG` → anatomy.
    """
    words = frozenset(re.split(r"[ /&]+", heading))
    before = words & {*_BACKGROUND}
    known: Meaning = "background" if before else "other" if words & {*_OTHER} else "unknown"
    if _TITLE.fullmatch(heading):
        return "report"
    if words & _NOT_OF_THE_IMAGE or heading == "WET READ":
        return "background" if before else "other"
    describes = words & {*_FINDINGS} or (known == "unknown" and words & {*_DESCRIPTION})
    concludes = words & {*_IMPRESSION} or (known == "unknown" and words & {*_JUDGEMENT})
    if describes or concludes:
        return "both" if describes and concludes else "findings" if describes else "impression"
    if words & _ANATOMY and words <= _WITH_ANATOMY:
        return "anatomy"
    if words & _VIEW and all(word in _WITH_A_VIEW or _is_number(word) for word in words):
        return "views"
    return known if known != "unknown" else _misspelt(heading)


def _is_number(word: str) -> bool:
    """Whether it is a number, a time, a date or a removed word (`___`, `XXXX`)."""
    return re.fullmatch(r"[\d:.-]+|_+|X{4}|[AP]\.M\.?", word) is not None


def _misspelt(heading: str) -> Meaning:
    """The meaning of the known heading that this one nearly is."""
    match get_close_matches(heading, [*_FINDINGS, *_IMPRESSION], n=1, cutoff=_MISSPELT):
        case [meant]:
            return "findings" if meant in _FINDINGS else "impression"
    return "unknown"
