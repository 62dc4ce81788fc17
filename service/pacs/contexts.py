"""Lists the presentation contexts under which objects are received: their classes and syntaxes.

Where a peer offers several transfer syntaxes in one context, the order decides. Lossless ones come
first, so that a compressed object arrives as it is stored. Lossy ones come last: a peer that may
send a radiograph either way must not degrade it for us.
"""

from collections.abc import Iterable, Sequence

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ExtensibleSRStorage,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext

from service.imaging.dicom.sop_classes import IMAGE_CLASSES, REPORT_CLASSES
from service.imaging.dicom.syntaxes import SYNTAXES

ECHO = UID("1.2.840.10008.1.1")
FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")
MOVE = UID("1.2.840.10008.5.1.4.1.2.2.2")
GET = UID("1.2.840.10008.5.1.4.1.2.2.3")
"""Query and retrieval by Study Root, from the study downwards (PS3.4 C.6.2)."""
REPORTS_RECEIVED = (*REPORT_CLASSES, ExtensibleSRStorage)
"""SOP classes of structured reports that are accepted. Extensible ones are not read as reports."""
NATIVE_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
"""Transfer syntaxes of an object without compressed pixels, the best first."""
_LOSSLESS = (
    JPEG2000Lossless,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEGLSLossless,
    JPEGLosslessSV1,
    JPEGLossless,
    RLELossless,
    UID("1.2.840.10008.1.2.4.110"),  # JPEG XL
)
_EITHER = (JPEG2000, HTJ2K)
IMAGE_SYNTAXES = (
    *_LOSSLESS,
    *NATIVE_SYNTAXES,
    *_EITHER,
    *(each for each in SYNTAXES if each not in {*_LOSSLESS, *NATIVE_SYNTAXES, *_EITHER}),
)
"""Every transfer syntax that is decoded, in the order in which one is chosen."""
USUAL_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
"""SOP classes that most radiographs have."""
MOST_CONTEXTS = 128
"""Presentation contexts that an association can have (PS3.8 9.3.2.2)."""


def storage_contexts() -> list[PresentationContext]:
    """Returns what a receiver accepts: each class of radiographs and reports with all its syntaxes.

    pynetdicom accepts the first of these syntaxes that the caller proposes.
    """
    return [
        build_context(each, list(syntaxes_of(each))) for each in (*IMAGE_CLASSES, *REPORTS_RECEIVED)
    ]


def syntaxes_of(sop_class: str) -> Sequence[UID]:
    """Returns the transfer syntaxes in which objects of a class may come, the preferred first."""
    return NATIVE_SYNTAXES if sop_class in REPORTS_RECEIVED else IMAGE_SYNTAXES


def single_contexts(
    sop_classes: Iterable[str], among: Sequence[UID] = IMAGE_SYNTAXES
) -> list[PresentationContext]:
    """Returns what a caller proposes: one context for each class and each of these syntaxes.

    A peer then accepts each syntax by itself, and an object comes in the one it is stored in.
    """
    return [
        build_context(each, syntax)
        for each in sop_classes
        for syntax in syntaxes_of(each)
        if syntax in among
    ]


def query_contexts(*models: UID) -> list[PresentationContext]:
    """Returns what a caller proposes to ask a node by."""
    return [
        build_context(each, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]) for each in models
    ]
