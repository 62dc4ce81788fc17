"""Reads from a DICOM header how the beam went through the patient: frontal, lateral, oblique."""

import re
from typing import Literal

from pydicom.dataset import Dataset

from service.imaging.dicom.codes import meanings
from service.imaging.dicom.elements import text

ELEMENTS = ("ViewPosition", "ViewCodeSequence", "PatientOrientation")
"""Elements that say it, the most telling first."""
_VIEWS = {
    "LATERAL DECUBITUS": r"[LR]LD|\w*DECUB\w*",
    "OBLIQUE": r"[LR][LAP]O|OBL\w*|\w*OBLIQUE",
    "LATERAL": r"[LR]L|[LR]?LAT|(?!BI)\w*LATERAL\w*|LATERO ?MEDIAL|PROFIL\w*|SAGITTAL",
    "PA": r"PA|P A|POSTERO ?ANTERIOR",
    "AP": r"AP|A P|ANTERO ?POSTERIOR",
}
"""View → the words that name it. A lateral decubitus is named so, although its beam is frontal."""
_NAMED = re.compile(
    r"\b(?:" + "|".join(f"(?P<{name.replace(' ', '_')}>{words})" for name, words in _VIEWS.items())
    + r")\b"
)  # fmt: skip


def view(dataset: Dataset) -> str | None:
    """Returns PA, AP, LATERAL, LATERAL DECUBITUS or OBLIQUE, never the header's own text.

    None where the header says nothing that is known, or several views at once.
    """
    return (
        _view_in(text(dataset, "ViewPosition"))
        or _view_in(" / ".join(meanings(dataset, "ViewCodeSequence")))
        or _view_by_directions(dataset)
    )


def laterality(dataset: Dataset) -> Literal["R", "L", "B"] | None:
    """Returns which side of the patient the image shows (B: both); None if it is not said."""
    said = text(dataset, "ImageLaterality") or text(dataset, "Laterality")
    sides: tuple[Literal["R", "L", "B"], ...] = ("R", "L", "B")
    return next((side for side in sides if side == said), None)


def _view_in(words: str) -> str | None:
    if words in {"L", "R"}:
        return "LATERAL"
    plain = re.sub(r"[\W_]+", " ", words.upper())
    named = {str(match.lastgroup).replace("_", " ") for match in _NAMED.finditer(plain)}
    for name in ("LATERAL DECUBITUS", "OBLIQUE"):
        if name in named:
            return name
    return named.pop() if len(named) == 1 else None


def _view_by_directions(dataset: Dataset) -> str | None:
    """Lateral where rows and columns run front to back and head to foot (PS3.3 C.7.6.1.1.1)."""
    directions = re.findall(r"[APRLHF]+", text(dataset, "PatientOrientation"))
    axes = {direction[0] for direction in directions}
    return "LATERAL" if axes & set("AP") and axes & set("HF") and len(directions) == 2 else None
