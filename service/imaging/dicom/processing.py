"""Recognises images FOR PROCESSING: raw data of a detector, not meant for readers (PS3.3 C.8.11).

Their PhotometricInterpretation is often not meant for display. How a value depends on the X-ray
beam's intensity is stated instead, and bone is where little of the beam arrives.
"""

from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForProcessing

from service.imaging.dicom.elements import number, text
from service.imaging.radiograph import Doubt

_POLARITY: dict[float, str] = {1: "MONOCHROME1", -1: "MONOCHROME2"}
"""PixelIntensityRelationshipSign → the PhotometricInterpretation that shows bone bright.

1: lower values are less intensity. −1: higher values are (PS3.3 C.8.11.3.1.2).
"""
_RAW = Doubt(
    "The header says that the image is FOR PROCESSING: it shows the detector's raw data, which "
    "look different from a processed radiograph. Send the image FOR PRESENTATION.",
    "alone",
)


def is_for_processing(dataset: Dataset) -> bool:
    """Decides it by PresentationIntentType and by the SOP class."""
    intent = text(dataset, "PresentationIntentType")
    return intent == "FOR PROCESSING" or (
        not intent and dataset.get("SOPClassUID") == DigitalXRayImageStorageForProcessing
    )


def bright_bone(dataset: Dataset) -> str | None:
    """Returns the PhotometricInterpretation of raw data that shows bone bright, if it is stated."""
    if not is_for_processing(dataset):
        return None
    return _POLARITY.get(number(dataset, "PixelIntensityRelationshipSign") or 0)


def doubts(dataset: Dataset) -> tuple[Doubt, ...]:
    """Returns the doubt about an image FOR PROCESSING; of any other none."""
    return (_RAW,) if is_for_processing(dataset) else ()
