"""Doubts a frontal view that its header calls mirrored or turned (PS3.3 C.7.6.1.1.1)."""

import re

from pydicom.dataset import Dataset

from service.imaging.dicom.elements import text
from service.imaging.dicom.view import view
from service.imaging.radiograph import Doubt

_OTHERWISE = Doubt(
    "The header says that the image is mirrored or turned: by Patient Orientation, the patient's "
    "left is not on the right of the image, or the feet are not below. What is said of left and "
    "right may be wrong. Send the image upright, with the patient's left on the right.",
    "never",
)


def orientation_doubts(dataset: Dataset) -> tuple[Doubt, ...]:
    r"""Returns the doubt about a frontal view that is not shown as readers look at it, or none.

    They look at rows that run to the patient's left, and columns that run to the feet: `L\F`.
    """
    directions = re.findall(r"[APRLHF]+", text(dataset, "PatientOrientation"))
    axes = [direction[0] for direction in directions]
    frontal = view(dataset) in {None, "PA", "AP"} and len(axes) == 2 and not set(axes) & set("AP")
    return (_OTHERWISE,) if frontal and axes != ["L", "F"] else ()
