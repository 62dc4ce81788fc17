"""A study's report is made of the images that can be used and that the rules let in."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless, generate_uid

from service.deadline import Deadline
from service.errors import LlmUnavailable, ObjectDamaged, ReportUngrounded, StoreUnavailable
from service.pacs.desk.drafting import Drafted, Drafting, NotDrafted
from service.pacs.desk.making import make_results
from service.pacs.desk.rules import Rules
from service.settings import Settings
from tests.support.archive import archived
from tests.support.map_bundles import measured_mapper
from tests.support.paths import RADIOGRAPH

STUDY = generate_uid()
SERIES = generate_uid()


def image(**elements):
    pixels = np.asarray(Image.open(RADIOGRAPH).convert("L")).astype(np.uint16) * 16
    ids = {
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "SOPInstanceUID": generate_uid(),
        "PatientID": "MRN-7",
        "BodyPartExamined": "CHEST",
    }
    return archived(JPEG2000Lossless, pixels, **ids | elements)


CUT = image()[:-5000]
"""An image that is cut off within its pixels."""


@pytest.fixture
def wired(client):
    return client.app.state.services


def draft(wired, files, **settings):
    """Drafts from files; one that is an error is raised where it is read."""

    def read(name):
        file = files[int(name)]
        if isinstance(file, Exception):
            raise file
        return file

    drafting = Drafting(Settings(**settings), wired.encoder, wired.reporter, Rules())
    return drafting.draft(STUDY, [str(n) for n in range(len(files))], read, Deadline(60))


def why(made):
    assert isinstance(made, NotDrafted)
    return made.rule, made.error and made.error.type


def test_an_image_that_cannot_be_used_does_not_cost_its_siblings_their_report(wired):
    good = [image(), image()]
    files = [CUT, good[0], ObjectDamaged("x"), image(BodyPartExamined="KNEE"), good[1]]
    made = draft(wired, files)
    assert isinstance(made, Drafted)
    assert len(made.images) == 2
    assert made.report.evidence


def test_the_frontal_view_is_read_again_to_say_where_findings_point(wired):
    files, read = [image(ViewPosition="LL"), CUT, image(ViewPosition="PA")], []

    def file_of(name):
        read.append(name)
        return files[int(name)]

    mapper = measured_mapper(wired.encoder, 0.1)
    reporter = replace(wired.reporter, mapper=mapper)
    drafting = Drafting(Settings(), wired.encoder, reporter, Rules())
    made = drafting.draft(STUDY, ["0", "1", "2"], file_of, Deadline(60))
    assert read == ["0", "1", "2", "2"]
    regions = [each.region for each in made.report.findings if each.region]
    assert {region.view for region in regions} == {1}


def test_no_evidence_comes_from_the_patient_or_the_study(wired):
    made = draft(wired, [image()])
    record = wired.reporter.audit.find(made.report.provenance.record)
    names = wired.library.pseudonyms
    assert (record.patient_id, record.study_id) == (names.patient("MRN-7"), names.study(STUDY))
    assert record.asked_by == "pacs"


@pytest.mark.parametrize(
    ("files", "rule", "error"),
    [
        ([image(BodyPartExamined="KNEE")], "default", None),
        ([image(Modality="MG")], "no-radiograph", None),
        ([CUT], None, "image/unsupported"),
        ([image(BodyPartExamined="KNEE"), CUT], "default", "image/unsupported"),
        ([image(), image(PatientID="MRN-8")], None, "study/invalid"),
        ([image(PatientID="a//b")], None, "study/invalid"),
    ],
)
def test_a_study_without_a_usable_image_has_a_reason(wired, files, rule, error):
    assert why(draft(wired, files)) == (rule, error)


def test_a_study_has_no_more_images_than_a_request(wired):
    assert len(draft(wired, [image() for _ in range(3)], max_images=2).images) == 2


@pytest.mark.parametrize("fault", [StoreUnavailable("x"), LlmUnavailable("x")])
def test_faults_of_our_own_are_raised(wired, fault):
    with pytest.raises(type(fault)):
        draft(wired, [image(), fault])


def test_a_model_whose_answer_is_no_report_is_replaced(wired):
    class Babbling:
        def write(self, *_):
            raise ReportUngrounded("It is no JSON.")

    reporter = replace(wired.reporter, language_model=Babbling())
    drafting = Drafting(Settings(), wired.encoder, reporter, Rules())
    made = drafting.draft(STUDY, ["a"], lambda _: image(), Deadline(60))
    assert made.report.generator.fallback == "It is no JSON."


def test_each_peer_has_a_result_and_the_same_images_give_the_same_key(wired):
    files = [image(), image()]
    first = make_results(["pacs", "fhir"], STUDY, draft(wired, files))
    again = make_results(["pacs"], STUDY, draft(wired, files[::-1]))
    assert [result.to for result in first] == ["pacs", "fhir"]
    assert {result.key for result in first} == {again[0].key}
    assert first[0].body[128:132] == b"DICM"
    assert first[1].body.startswith(b'{"resourceType": "Bundle"')
    assert make_results([], STUDY, draft(wired, files)) == []
    other = make_results(["pacs"], STUDY, draft(wired, files[:1]))
    assert other[0].key != again[0].key
