"""Reads how an image lies in the patient, and doubts a frontal view that is mirrored or turned.

Patient Orientation says so (PS3.3 C.7.6.1.1.1).
"""

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


def directions(dataset: Dataset) -> tuple[str, str] | None:
    r"""Returns to where in the patient rows run, and columns: `L\F` and `LA\F` give L and F."""
    axes = [each[0] for each in re.findall(r"[APRLHF]+", text(dataset, "PatientOrientation"))]
    return (axes[0], axes[1]) if len(axes) == 2 else None


def orientation_doubts(dataset: Dataset) -> tuple[Doubt, ...]:
    r"""Returns the doubt about a frontal view that is not shown as readers look at it, or none.

    They look at rows that run to the patient's left, and columns that run to the feet: `L\F`.
    """
    axes = directions(dataset)
    if axes is None or set(axes) & set("AP") or view(dataset) not in {None, "PA", "AP"}:
        return ()
    return () if axes == ("L", "F") else (_OTHERWISE,)
