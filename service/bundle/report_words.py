"""Knows the words of radiology reports' headings, and says what a heading means.

The words are those of published lists of MIMIC-CXR's and CheXpert's section names, of Open-i and of
dictation templates.
"""

import re
from difflib import get_close_matches
from typing import Literal

Meaning = Literal[
    "findings",
    "impression",
    "both",
    "description",
    "judgement",
    "comment",
    "report",
    "views",
    "anatomy",
    "background",
    "other",
    "unknown",
]
"""What a heading says of its text.

findings, impression, both: it describes the image, concludes, or does both. description, judgement:
the same, unless other headings of the report say so more plainly. comment: it may describe the
image. report: a report begins. views: what was taken ("CHEST, TWO VIEWS"). anatomy: which body part
a sentence is about. background: what was known before (history, comparison, technique). other: who
was called, who signed and the like. unknown: none of these.
"""

# fmt: off
FINDINGS = ("FINDING", "FINDINGS")
IMPRESSION = ("IMP", "IMPR", "IMPRESSION", "IMPRESSIONS", "CONCLUSION", "CONCLUSIONS", "OPINION")
DESCRIPTION = ("DESCRIPTION", "OBSERVATION", "OBSERVATIONS", "RESULT", "RESULTS")
JUDGEMENT = (
    "ASSESSMENT", "DIAGNOSIS", "DIAGNOSES", "INFERENCE", "INTERPRETATION", "SUMMARY",
)
COMMENT = ("COMMENT", "COMMENTS", "DISCUSSION", "NOTE", "NOTES", "REMARK", "REMARKS")
REASON = (
    "COMPLAINT", "DETAILS", "HISTORY", "HX", "INDICATION", "INDICATIONS", "INFORMATION", "PMH",
    "QUESTION", "REASON", "REFERRAL", "REQUEST",
)
"""What brought the patient to the examination."""
ACQUISITION = (
    "COMPARISON", "COMPARISONS", "EXAM", "EXAMINATION", "PROCEDURE", "STUDY", "TECHNIQUE",
)
_OTHER = (
    "ACCESSION", "ADDENDUM", "ADDRESS", "ADV", "ADVICE", "ATTENDING", "ATTESTATION", "BILLING",
    "CC", "CODE", "CODES", "COMMUNICATION", "CONSULT", "CONTACT", "CONTRAST", "CPT", "DATE",
    "DEPARTMENT", "DICTATED", "DISCLAIMER", "DISPOSITION", "DOB", "DOSE", "FACILITY", "FAX",
    "FOLLOW", "FOLLOW-UP", "FOLLOWUP", "HOSPITAL", "ICD", "ID", "LABS", "LIMITATION",
    "LIMITATIONS", "LOCATION", "MD", "MEDICATION", "MEDICATIONS", "MRN", "NAME", "NOTIFICATION",
    "NUMBER", "ORDER", "PAGER", "PATIENT", "PHONE", "PHYSICIAN", "PHYSICIANS", "PLAN", "PRIORITY",
    "PROTOCOL", "PROVIDER", "QUALITY", "RADIOLOGIST", "RADIOLOGISTS", "RECOMMENDATION",
    "RECOMMENDATIONS", "RESIDENT", "SIGNED", "STAFF", "STATUS", "SYMPTOMS", "TECHNOLOGIST",
    "TIME", "TRANSCRIPTIONIST",
)
QUALIFYING = (
    "ADDITIONAL", "BRIEF", "CHEST", "CLINICAL", "DATA", "ELECTRONICALLY", "EXAMS",
    "FILM", "FINAL", "INCIDENTAL", "MEDICAL", "OTHER", "PAST", "PATIENT", "PERTINENT",
    "RADIOGRAPHIC", "RADIOLOGICAL", "RELEVANT", "STUDIES",
)
JOINING = ("AND", "BY", "FOR", "OF", "THE", "TYPE")
_NOT_OF_THE_IMAGE = frozenset((
    "ADMISSION", "ADMITTING", "AI", "BY", "CAD", "CALLED", "CATEGORY", "CLINICAL", "CODE",
    "COMMUNICATED", "COMMUNICATION", "COMPARISON", "COMPARISONS", "CT", "DISCHARGE",
    "DISCUSSED", "ECHO", "ED", "END", "ICD", "LAB", "LABORATORY", "MR", "MRI", "NOTIFICATION",
    "ORDERING", "OUTSIDE", "PATHOLOGY", "PET", "PHYSICAL", "POSTOPERATIVE", "PRELIMINARY",
    "PREOPERATIVE", "PREVIOUS", "PRIMARY", "PRIOR", "PROVISIONAL", "READ", "REFERENCE",
    "REFERRING", "REPORTED", "RESIDENT", "SINUS", "STATUS", "TO", "ULTRASOUND", "WET", "WITH",
    "WORKING",
))
"""Words that no heading of a description has: `CLINICAL DIAGNOSIS`, `WET READ`."""
_VIEW = frozenset((
    "AP", "CXR", "FILM", "FILMS", "FRONTAL", "LATERAL", "PA", "PORTABLE", "PROJECTION",
    "PROJECTIONS", "RADIOGRAPH", "RADIOGRAPHS", "ROENTGENOGRAM", "SUPINE", "UPRIGHT", "VIEW",
    "VIEWS", "X-RAY", "X-RAYS", "XR", "XRAY", "XRAYS", "1V", "2V",
))
_WITH_A_VIEW = _VIEW | frozenset((
    "A", "ABDOMEN", "AM", "AND", "AT", "BEDSIDE", "CHEST", "COMPARED", "CR", "DATED", "DECUBITUS",
    "DIGITAL", "DX", "ERECT", "EXAM", "EXAMINATION", "EXPIRATORY", "FOUR", "FROM", "HOURS", "HRS",
    "IMAGE", "IMAGES", "INSPIRATORY", "LAT", "LEFT", "LORDOTIC", "MOBILE", "OBLIQUE", "OF", "ON",
    "ONE", "PM", "PORT", "RAY", "RIBS", "RIGHT", "S", "SEMI-ERECT", "SEMI-UPRIGHT", "SEMIERECT",
    "SEMIUPRIGHT", "SERIES", "SINGLE", "STANDARD", "THE", "THORAX", "THREE", "TIME", "TO", "TWO",
    "WITH", "X",
))
_ANATOMY = frozenset((
    "ABDOMEN", "AIRWAY", "AIRWAYS", "AORTA", "AORTIC", "ATELECTASIS", "BONE", "BONES", "BONY",
    "CARDIAC", "CARDIOMEDIASTINAL", "CARDIOMEDIASTINUM", "CARDIOMEGALY", "CATHETERS", "CHEST",
    "CONSOLIDATION", "DEVICES", "DIAPHRAGM", "DIAPHRAGMS", "EDEMA", "EFFUSION", "EFFUSIONS",
    "ETT", "FRACTURE", "FRACTURES", "HARDWARE", "HEART", "HEMITHORAX", "HILA", "HILAR", "HILUM",
    "LINE", "LINES", "LUNG", "LUNGS", "MEDIASTINAL", "MEDIASTINUM", "MUSCULOSKELETAL", "NECK",
    "NODULE", "NODULES", "OPACITIES", "OPACITY", "OSSEOUS", "OTHER", "PACEMAKER", "PARENCHYMA",
    "PICC", "PLEURA", "PLEURAL", "PNEUMOTHORAX", "PULMONARY", "RIBS", "SKELETON", "SPINE",
    "STERNUM", "STOMACH", "THORAX", "TISSUE", "TISSUES", "TRACHEA", "TUBE", "TUBES",
    "VASCULARITY", "VASCULATURE", "VESSELS",
))
_WITH_ANATOMY = _ANATOMY | frozenset((
    "AND", "ANGLES", "CAVITY", "CONTOUR", "CONTOURS", "COSTOPHRENIC", "ET", "FIELDS", "KNOB",
    "LEFT", "LOWER", "NG", "OF", "RIGHT", "SILHOUETTE", "SIZE", "SOFT", "SPACE", "SPACES",
    "STRUCTURES", "SUPPORT", "THE", "UPPER", "VOLUMES", "WALL", "ZONE", "ZONES",
))
# fmt: on
TITLE = re.compile(
    r"(?:(?:FINAL|PRELIMINARY|OFFICIAL|ORIGINAL|RADIOLOGY|RADIOLOGICAL|RADIOGRAPHIC"
    r"|X-RAY|X RAY|XRAY|CHEST) )*(?:REPORT|REPORT TEXT|NARRATIVE|TEXT|BODY|FULL TEXT)"
)
_MISSPELT = 0.87
"""Least `difflib` similarity to a known heading: `IMORESSION` has .90, `COMPRESSION` .86."""


_WEAK: dict[Meaning, tuple[str, ...]] = {
    "description": DESCRIPTION,
    "judgement": JUDGEMENT,
    "comment": COMMENT,
}


def meaning(heading: str) -> Meaning:
    """Returns what a heading, in capitals and without punctuation, says of the text below it.

    Examples: `CHEST FINDINGS` → findings; `IMPRESSION/RECOMMENDATION` → impression;
    `CT FINDINGS` → other; `PORTABLE AP CHEST` → views; `LEFT LUNG` → anatomy.
    """
    words = frozenset(re.split(r"[ /&]+", heading))
    background = words & {*REASON, *ACQUISITION}
    if TITLE.fullmatch(heading):
        return "report"
    if words & _VIEW and _are_views(words):
        return "views"
    if words & _NOT_OF_THE_IMAGE:
        return "background" if background else "other"
    if words & {*FINDINGS}:
        return "both" if words & {*IMPRESSION} else "findings"
    if words & {*IMPRESSION}:
        return "impression"
    if background or words & {*_OTHER}:
        return "background" if background else "other"
    if words & _ANATOMY and words <= _WITH_ANATOMY:
        return "anatomy"
    for means, known in _WEAK.items():
        if words & {*known}:
            return means
    return _misspelt(heading)


def is_history(heading: str) -> bool:
    """Decides whether a heading tells the patient's story, in as many paragraphs as it takes."""
    return not {"DETAILS", "HISTORY", "HX", "INFORMATION", "PMH"}.isdisjoint(
        re.split(r"[ /&]+", heading)
    )


def _are_views(words: frozenset[str]) -> bool:
    return all(
        word in _WITH_A_VIEW or re.fullmatch(r"[\d:.-]+|_+|X{4}|[AP]\.M\.?", word) for word in words
    )


def _misspelt(heading: str) -> Meaning:
    """The meaning of the known heading that this one nearly is."""
    match get_close_matches(heading, [*FINDINGS, *IMPRESSION], n=1, cutoff=_MISSPELT):
        case [meant]:
            return "findings" if meant in FINDINGS else "impression"
    return "unknown"
