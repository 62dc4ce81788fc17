"""Which view is mapped, and when; and the regions of sentences in reports."""

from dataclasses import replace
from functools import partial

import pytest

from service.imaging.radiograph import Doubt
from service.inference.maps import Mapper
from service.reporting.formats import basis, diagnostic_report, json_text, plain_text, where
from service.reporting.grounding import Grounding
from service.reporting.pointing import _frontal, pointing_in
from service.reporting.replay import written_again
from service.reporting.report import ReportRequest
from service.reporting.sentences import Draft, Sentence
from tests.support.evidence import embedded, passage
from tests.support.map_bundles import measured_mapper
from tests.support.regions import pointing, spot

LEFT, RIGHT = spot(0.72, 0.72), spot(0.28, 0.72)


@pytest.fixture
def reporter(client):
    return client.app.state.services.reporter


@pytest.fixture(scope="module")
def measured(encoder):
    """The demo bundle's maps, as if they had been measured to be of this worth."""
    return partial(measured_mapper, encoder)


@pytest.fixture
def checked(encoder, deadline):
    """A sentence that one passage says, with the region of its finding."""

    def check(text, **maps):
        evidence = embedded([passage(1, text)], encoder, deadline)
        grounding = Grounding(evidence, (), encoder, deadline, pointing(**maps))
        return grounding.check(Draft("findings", text, (1,)))

    return check


@pytest.mark.parametrize(
    ("text", "agrees"),
    [
        ("Small left pleural effusion.", "agrees"),
        ("Small right pleural effusion.", "disagrees"),
        ("Mild to moderate right pleural effusion, no pneumothorax.", "disagrees"),
        ("Bilateral pleural effusions.", None),
        ("Left pleural effusion and right pleural effusion.", None),
        ("Pleural effusion.", None),
    ],
)
def test_the_map_agrees_with_the_one_side_that_a_sentence_names(checked, text, agrees):
    sentence = checked(text, pleural_effusion=LEFT, pneumothorax=RIGHT)
    assert sentence.status == "supported"
    assert (sentence.region.finding, sentence.region.zone) == ("pleural effusion", "left lower")
    assert sentence.region.agrees == agrees


@pytest.mark.parametrize(
    "text",
    [
        "No left pleural effusion.",
        "Possible left pleural effusion.",
        "Left pleural effusion and pneumothorax.",
        "Degenerative changes of the spine.",
    ],
)
def test_a_sentence_that_does_not_affirm_one_finding_has_no_region(checked, text):
    assert checked(text, pleural_effusion=LEFT, pneumothorax=RIGHT).region is None


def test_a_map_that_is_not_validated_is_never_made(encoder, image, reporter, measured, deadline):
    def read(_):
        raise AssertionError("The view was read.")

    for mapper in (measured(0.0), Mapper(encoder)):
        assert pointing_in(read, [image], mapper, reporter.classifier, deadline) is None


@pytest.mark.parametrize(
    ("views", "frontal"),
    [
        ([None], 0),
        (["LATERAL"], None),
        ([None, None], None),
        (["LATERAL", "PA", "AP"], 1),
        ([None, "AP"], 1),
    ],
)
def test_the_first_view_that_is_known_to_be_frontal_is_mapped(image, views, frontal):
    assert _frontal([replace(image.facts, view=view) for view in views]) == frontal


def test_a_view_that_may_be_mirrored_or_no_chest_is_not_mapped(image):
    doubted = image.facts.doubted([Doubt("It may be mirrored.", "never")])
    assert _frontal([doubted]) is None
    assert _frontal([replace(doubted, view="PA"), replace(image.facts, view="AP")]) == 1


def test_reports_say_where_findings_point_and_are_the_same_without(
    reporter, image, radiograph, measured, deadline
):
    mapped = replace(reporter, mapper=measured(0.1))
    maps = mapped.pointing([radiograph].__getitem__, [image], deadline)
    assert set(maps.maps) == set(reporter.classifier.stated)
    with_maps = mapped.report([image], ReportRequest(), deadline, maps)
    without = reporter.report([image], ReportRequest(), deadline)
    assert any(sentence.region for sentence in with_maps.findings)
    assert '"region"' in json_text(with_maps)
    assert '"region"' not in json_text(without)
    assert (with_maps.findings, with_maps.impression) == (without.findings, without.impression)
    record = reporter.audit.find(with_maps.provenance.record)
    assert [s.region for s in record.findings] == [s.region for s in with_maps.findings]
    again = written_again(record, reporter, None, None, deadline)
    assert (again.same, again.changes) == (True, ())
    plain = reporter.audit.find(without.provenance.record)
    assert "region" not in plain.model_dump_json()


def test_people_read_the_zone_or_a_warning(checked):
    right = checked("Small left pleural effusion.", pleural_effusion=LEFT)
    wrong = checked("Small left pleural effusion.", pleural_effusion=RIGHT)
    assert basis(right) == "[1] (map: left lower zone)"
    assert basis(wrong) == "[1] (the map of pleural effusion lies on the other side)"
    assert basis(Sentence("Nodule.", (1,), 1.0, "supported")) == "[1]"


def test_people_read_no_zone_where_the_lungs_were_not_found(checked):
    region = replace(checked("Pleural effusion.", pleural_effusion=LEFT).region, lungs_found=False)
    assert basis(Sentence("Effusion.", (1,), 1.0, "supported", region=region)) == "[1]"
    assert where(region).startswith("lung fields not found; box at 0.")


def test_a_fhir_observation_has_the_region_as_a_component(reporter, image, checked, deadline):
    report = reporter.report([image], ReportRequest(), deadline)
    wrong = checked("Small left pleural effusion.", pleural_effusion=RIGHT)
    flagged = replace(report, findings=(wrong,), impression=(wrong,))
    resource = diagnostic_report(flagged)
    (component,) = resource["contained"][0]["component"]
    assert component["valueString"].startswith(
        "right lower zone (not the side that the sentence names); box at 0."
    )
    assert "lies on the other side" in resource["conclusion"]
    assert "lies on the other side" in plain_text(flagged)
    assert "component" not in str(diagnostic_report(report))
