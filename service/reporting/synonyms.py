"""Puts one term for each of the terms that radiologists use for the same thing.

Example: "The cardiac silhouette is enlarged" and "Cardiomegaly" both speak of an enlarged heart. A
pair stands here only if each term may replace the other. "Consolidation" and "opacity" do not: many
an opacity is no consolidation. The list is
short on purpose, was written by engineers, and no radiologist has checked it. Lexicons to check it
against are RadLex, the Fleischner Society's glossary (Hansell et al. 2008, Radiology 246:697) and
the phrases of the CheXpert labeller (Irvin et al. 2019, arXiv 1901.07031).
"""

import re

_TERMS = {
    r"cardiomegaly|(?:cardiac|heart)(?: silhouette)? enlargement"
    r"|enlargement of (?:the )?(?:heart|cardiac silhouette)": "enlarged heart",
    r"(?:cardiac|heart) (?:silhouette|shadow)"
    r"|(?:cardiac|heart) size(?= (?:is|appears) (?:\w+ly )?enlarged)": "heart",
    r"cardiac": "heart",
    r"osseous": "bony",
    r"pleural fluid": "pleural effusion",
    r"ptx": "pneumothorax",
    r"air[ -]space": "airspace",
    r"(?:(?<=upper )|(?<=lower )|(?<=mid )|(?<=middle ))(?:zone|lobe|field)s?"
    r"|(?:lung|pulmonary) (?:zone|lobe|field)s?": "lung",
    r"pulmonary": "lung",
    r"stable": "unchanged",
    r"unremarkable|within normal limits": "normal",
    r"(?:cp|costophrenic) (?:angle|sulcus)": "costophrenic angle",
    r"(?:cp|costophrenic) (?:angles|sulci)": "costophrenic angles",
    r"(?:on|at|in) both sides|bilaterally": "bilateral",
    r"bibasilar|bibasal": "bilateral basal",
    r"biapical": "bilateral apical",
    r"rul": "right upper lung",
    r"rml": "right middle lung",
    r"rll": "right lower lung",
    r"lul": "left upper lung",
    r"lll": "left lower lung",
    r"et tube|ett": "endotracheal tube",
    r"ng tube|ngt": "nasogastric tube",
    r"picc line|peripherally inserted central (?:venous )?catheter": "picc",
    r"central venous line|central line|cvc": "central venous catheter",
    r"thoracostomy tube": "chest tube",
    r"svc": "superior vena cava",
    r"terminates": "ends",
    r"cannot be (?:excluded|ruled out)": "possible",
}
_ANY = re.compile(rf"\b(?:{'|'.join(_TERMS)})\b")
_EACH = [(re.compile(rf"(?:{terms})\b"), term) for terms, term in _TERMS.items()]
_NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
_LENGTH = re.compile(
    rf"(?<![\d.,/])((?:{_NUMBER} ?(?:[cm]m)? ?(?:x|×|by|to|-) ?){{0,3}}{_NUMBER})[ -]?"
    r"([cm]m|(?:centi|milli)met(?:er|re)s?)\b",
    re.IGNORECASE,
)
_PART = re.compile(rf"({_NUMBER})(?: ?([cm]m))?", re.IGNORECASE)
_MM = {"c": 10, "m": 1}
"""Millimetres in a unit of length, by its first letter."""


def with_one_term(text: str) -> str:
    """Returns the text with one term for each thing, and lengths in millimetres.

    Examples: "Cardiomegaly, RLL nodule of 1.5 cm." → "enlarged heart, right lower lung nodule of
    15mm."; "2 x 3 cm" → "20mm x 30mm". Other letters keep their case.
    """
    lowered = text.lower()
    kept, end = [], 0
    for found in _ANY.finditer(lowered) if text.isascii() else ():
        term = next(term for terms, term in _EACH if terms.match(lowered, found.start()))
        kept += [text[end : found.start()], term]
        end = found.end()
    text = "".join([*kept, text[end:]])
    return _LENGTH.sub(_in_millimetres, text) if "m" in lowered else text


def _in_millimetres(length: re.Match[str]) -> str:
    """Returns each number of a length in millimetres; one without a unit has that of the last."""

    def converted(part: re.Match[str]) -> str:
        unit = part[2] or length[2]
        return f" {float(part[1]) * _MM[unit[0].lower()]:.15g}mm "

    return " ".join(_PART.sub(converted, length[1]).split()).replace(" - ", "-")
