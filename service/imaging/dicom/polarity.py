"""Reads from a DICOM header whether low values are shown bright (PS3.3 C.7.6.3.1.2, C.11.6)."""

from pydicom.dataset import Dataset

from service.imaging.dicom.elements import text


def polarity(dataset: Dataset) -> tuple[bool, list[str]]:
    """Returns whether low values are shown bright, and what to say of it.

    PresentationLUTShape follows after everything else, so it decides over the photometric
    interpretation where the two contradict each other.
    """
    low_is_bright = text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    shape = text(dataset, "PresentationLUTShape")
    if shape not in {"IDENTITY", "INVERSE"}:
        return low_is_bright, []
    inverse = shape == "INVERSE"
    said = f"PresentationLUTShape {shape} decided over PhotometricInterpretation."
    return inverse, [said] if inverse != low_is_bright else []
