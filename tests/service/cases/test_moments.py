"""When studies were made: their order and intervals within a patient are stored, and no date."""

from dataclasses import replace

import pytest

from service.cases.copying import copy
from service.cases.ingest import total
from service.cases.places import renditions_of
from service.cases.points import to_points, to_study
from service.cases.records import NewStudy, StudyRecord, digest_of
from service.imaging.deidentify import SHIFT, Pseudonymiser
from tests.service.cases.conftest import KEY

NOON = 29_000_000
OLD = NewStudy(
    "s1", StudyRecord(patient_id="p1", report="Clear lungs."), (b"1", b"2"), ("PA", None)
)


def dated(study_id, moment, patient_id="p1"):
    record = StudyRecord(patient_id=patient_id, report="FINDINGS: Clear lungs.")
    return NewStudy(study_id, record, (), moment=moment)


def test_only_order_and_intervals_within_a_patient_can_be_seen(library, deadline):
    studies = [dated("a", NOON), dated("b", NOON + 60), dated("c", NOON, "p2"), dated("d", None)]
    stored = library.put_many([*studies, dated("e", NOON, None)], deadline)
    first, second, other, undated, nobodys = (study.moment for study in stored)
    assert second - first == 60
    assert len({NOON, first, other}) == 3
    assert undated is nobodys is None
    assert library.get("a") == stored[0]


def test_the_offset_is_a_patients_own_and_cannot_be_told_without_the_key():
    names = Pseudonymiser(KEY)
    shifts = [names.shift(names.patient(f"p{number}")) for number in range(2000)]
    assert names.shift(names.patient("p7")) == shifts[7]
    assert Pseudonymiser(KEY[::-1]).shift(names.patient("p7")) != shifts[7]
    assert len({*shifts}) > 1990
    assert -SHIFT <= min(shifts) < -0.99 * SHIFT
    assert 0.99 * SHIFT < max(shifts) <= SHIFT


def test_a_digest_changes_for_studies_with_a_moment_alone():
    before = "1b4cb98c6b65eb0cd942cef361d93241"
    assert digest_of(OLD, "b" * 64).startswith(before)
    nobodys = replace(OLD, record=StudyRecord(report="Clear lungs."))
    assert digest_of(replace(nobodys, moment=1), "b") == digest_of(nobodys, "b")
    moments = {digest_of(replace(OLD, moment=moment), "b") for moment in (None, 1, 2)}
    assert len(moments) == 3


def test_a_stored_digest_cannot_be_found_by_trying_ids_and_dates(library, deadline):
    study = dated("a", NOON)
    (stored,) = library.put_many([study], deadline)
    assert stored.digest
    assert stored.digest != digest_of(study, library.encoder.bundle.manifest.id)


def test_a_study_that_an_earlier_version_stored_has_no_moment(study):
    payload = to_points(study("s1"))[-1].payload
    del payload["moment"]
    assert to_study(payload) == study("s1").study


@pytest.mark.slow
def test_moments_outlast_a_copy_for_another_bundle(open_library, deadline, tmp_path):
    library = open_library()
    library.put_many([dated("a", NOON), dated("b", None)], deadline)
    moved = open_library("moved")
    moved.store.identity = replace(library.store.identity, bundle_id="b" * 64)
    done = total(copy(library.store, renditions_of(tmp_path, "studies"), moved))
    assert (done.stored, done.rejected) == (2, ())
    for name in ("a", "b"):
        assert moved.get(name).moment == library.get(name).moment
