"""Decides whether a DICOM file is an image of projection radiography, by its kind (PS3.4 B.5)."""

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EnhancedSRStorage,
    EnhancedXAImageStorage,
    EnhancedXRFImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

PROJECTION = frozenset({"CR", "DX", "DR", "XR", "RG", "OT", "SC", ""})
"""Modalities of projection radiography, and those that a converter writes (PS3.3 C.7.3.1.1.1)."""
_RADIOGRAPHS = frozenset(
    {
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
    }
)
"""SOP classes of radiographs, whatever their Modality says, unless that is mammography."""
_ANY_IMAGE = frozenset(
    {
        "",
        SecondaryCaptureImageStorage,
        MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        MultiFrameTrueColorSecondaryCaptureImageStorage,
        XRayAngiographicImageStorage,
        XRayRadiofluoroscopicImageStorage,
        EnhancedXAImageStorage,
        EnhancedXRFImageStorage,
    }
)
"""SOP classes that may hold a radiograph. Modality decides of these, and of private ones."""
IMAGE_CLASSES = tuple(sorted((_RADIOGRAPHS | _ANY_IMAGE) - {""}))
"""SOP classes of the standard that a radiograph may be stored as."""
REPORT_CLASSES = (
    BasicTextSRStorage,
    EnhancedSRStorage,
    ComprehensiveSRStorage,
    Comprehensive3DSRStorage,
)
"""SOP classes of structured reports (SR) that may hold a radiologist's report (PS3.3 A.35)."""


def is_projection(dataset: Dataset) -> bool:
    """Decides by the SOP class where it tells, else by Modality (PS3.4 B.5, PS3.3 C.7.3.1.1.1)."""
    value = dataset.get("Modality") or ""
    values = value if isinstance(value, MultiValue) else [value]
    return may_be_projection(str(dataset.get("SOPClassUID") or ""), map(str, values))


def may_be_projection(sop_class_uid: str, modalities: Iterable[str]) -> bool:
    """Decides as `is_projection` does, of an object by its SOP class and Modality alone."""
    known = {each.strip().upper() for each in modalities}
    sop_class = UID(sop_class_uid)
    if sop_class in _RADIOGRAPHS:
        return "MG" not in known
    private = sop_class.name == sop_class  # the standard's other classes hold no radiographs
    return (sop_class in _ANY_IMAGE or private) and not known.isdisjoint(PROJECTION)
