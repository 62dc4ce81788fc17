"""Lists presentation contexts: all that is decoded, and no more than an association can have."""

from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from service.imaging.dicom.sop_classes import IMAGE_CLASSES
from service.imaging.dicom.syntaxes import SYNTAXES
from service.pacs.contexts import (
    IMAGE_SYNTAXES,
    MOST_CONTEXTS,
    REPORTS_RECEIVED,
    USUAL_CLASSES,
    single_contexts,
    storage_contexts,
)


def test_every_syntax_that_is_decoded_is_received_once():
    assert sorted(IMAGE_SYNTAXES) == sorted(SYNTAXES)


def test_a_lossless_syntax_is_preferred_and_a_lossy_one_comes_last():
    places = [
        IMAGE_SYNTAXES.index(each)
        for each in (JPEG2000Lossless, ExplicitVRLittleEndian, JPEGBaseline8Bit)
    ]
    assert places == sorted(places)


def test_a_receiver_has_a_context_for_each_class():
    classes = [each.abstract_syntax for each in storage_contexts()]
    assert classes == [*IMAGE_CLASSES, *REPORTS_RECEIVED]


def test_the_usual_classes_and_reports_fit_into_one_association():
    contexts = single_contexts([*USUAL_CLASSES, *REPORTS_RECEIVED])
    assert len(contexts) < MOST_CONTEXTS
    assert all(len(each.transfer_syntax) == 1 for each in contexts)
