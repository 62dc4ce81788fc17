"""A library that an earlier version wrote: refused when it is served, and copied."""

from dataclasses import replace

import numpy as np
import pytest
from qdrant_client import QdrantClient

from service.cases.copying import copy, missing, searched_alike
from service.cases.edge import EdgeStore
from service.cases.ingest import Outcome, total
from service.cases.places import open_existing, renditions_of
from service.cases.records import NewStudy, StudyRecord
from service.cases.schema import SCHEMA_VERSION, Passage
from service.cases.server import ServerStore
from service.errors import QueueFull, SchemaMismatch
from service.settings import DEMO_LIBRARY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning:service"),  # qdrant's local mode
]
PICTURES = [path.read_bytes() for path in sorted(DEMO_LIBRARY.parent.glob("images/*.jpg"))[:3]]
REPORTS = [
    "FINDINGS: Small left effusion. No pneumothorax. IMPRESSION: Effusion.",
    "CHEST, TWO VIEWS: Moderate cardiomegaly. The lungs are clear.",
    None,
    "Normal chest radiograph.",
]
STUDIES = [
    NewStudy(
        f"s{number}",
        StudyRecord(patient_id=f"p{number % 3}", report=REPORTS[number % 4], findings=["mass"]),
        tuple(PICTURES[: 1 + number % 3]) if number % 4 != 3 else (),
    )
    for number in range(20)
]


def split_as_version_3(report, study_id):
    """Not as it was: as something that version 4 splits in another way, whatever that is."""
    return tuple(
        Passage(f"{study_id}/report/{ordinal}", "report", part)
        for ordinal, part in enumerate(report.split(":"))
        if part
    )


@pytest.fixture
def old(open_library, deadline, monkeypatch):
    """A library whose schema version is 3, on the disk as it was written."""
    with monkeypatch.context() as patch:
        patch.setattr("service.cases.library.split_report", split_as_version_3)
        library = open_library("old", schema_version=3)
        library.put_many(STUDIES, deadline)
    return library


def by_reference(store):
    return {embedded.study.study_id: embedded for embedded in store.studies()}


def given(vectors):
    return [vector for vector in vectors if vector is not None]


def assert_moved(old, new, fresh):
    """Passages are those of a new ingestion; all else is as it was."""
    old, new, fresh = (by_reference(store) for store in (old, new, fresh))
    assert old.keys() == new.keys() == fresh.keys()
    for reference, embedded in new.items():
        before, expected = old[reference], fresh[reference]
        assert embedded.study == expected.study
        assert embedded.study == replace(before.study, passages=expected.study.passages)
        for vectors, others in (
            (embedded.image_vectors, before.image_vectors),
            ([embedded.report_vector], [before.report_vector]),
            (embedded.passage_vectors, expected.passage_vectors),
        ):
            assert len(given(vectors)) == len(given(others))
            np.testing.assert_allclose(given(vectors), given(others), atol=1e-4)  # float16
    assert any(old[reference].study.passages != new[reference].study.passages for reference in new)


def test_a_library_of_version_3_is_refused_when_it_is_opened(old, open_library):
    old.store.close()
    with pytest.raises(SchemaMismatch, match=r"schema version 3, not 4.*`eclip copy`"):
        open_library("old")


def test_a_copy_keeps_vectors_and_renditions_and_splits_reports_again(
    old, open_library, deadline, tmp_path, monkeypatch
):
    old.store.close()
    new, fresh = open_library("new"), open_library("fresh")
    fresh.put_many(STUDIES, deadline)
    with open_existing(str(tmp_path / "old"), tmp_path, None) as (store, renditions):
        assert store.identity.schema_version == 3
        batches = list(copy(store, renditions, new))
        assert total(batches) == Outcome(len(STUDIES))
        assert [outcome.studies for outcome in batches] == [16, 4]
        assert_moved(store, new.store, fresh.store)
        assert searched_alike(store, new.store, 5) == (5, 5)
        assert missing(store, new.store) == 0
        assert list(copy(store, renditions, new)) == []
    assert new.store.identity.schema_version == SCHEMA_VERSION
    assert new.rendition("s1", 1) == fresh.rendition("s1", 1)
    monkeypatch.setattr(new.store, "put", lambda *_: pytest.fail("it was written again"))
    assert new.put_many(STUDIES, deadline) == fresh.put_many(STUDIES, deadline)
    new.store.close()
    assert open_library("new").store.count() == len(STUDIES)


def test_an_image_that_is_gone_keeps_its_study_out(old, open_library, tmp_path):
    new = open_library("new")
    renditions_of(tmp_path, "old").remove([old.get("s1").images[0].rendition])
    (outcome,) = list(copy(old.store, renditions_of(tmp_path, "old"), new))[:1]
    assert [rejected.place for rejected in outcome.rejected] == [old.get("s1").study_id]
    assert "not on this disk" in outcome.rejected[0].reason


def test_a_text_that_is_refused_keeps_only_its_study_out(old, open_library, tmp_path, monkeypatch):
    new = open_library("new")
    monkeypatch.setattr(new.encoder, "_max_text_chars", len(REPORTS[3]) - 1)
    outcome = total(copy(old.store, renditions_of(tmp_path, "old"), new))
    refused = [old.get(f"s{number}").study_id for number in range(3, len(STUDIES), 4)]
    assert sorted(rejected.place for rejected in outcome.rejected) == sorted(refused)
    assert "over the limit of 23" in outcome.rejected[0].reason
    assert outcome.stored == new.store.count() == len(STUDIES) - len(refused)


def test_an_error_of_the_encoder_is_the_error_of_every_study(
    old, open_library, tmp_path, monkeypatch
):
    def full(*_):
        raise QueueFull("The queue is full.")

    new = open_library("new")
    monkeypatch.setattr(new.encoder, "texts", full)
    outcome = total(copy(old.store, renditions_of(tmp_path, "old"), new))
    assert (outcome.stored, len(outcome.rejected)) == (0, len(STUDIES))
    assert outcome.rejected[0].reason == "The queue is full."


def test_a_collection_of_version_3_on_a_server_is_refused_and_copied(
    old, open_library, deadline, tmp_path
):
    client = QdrantClient(":memory:")
    on_server = ServerStore(client, "old", old.store.identity)
    on_server.put(list(old.store.studies()))
    with pytest.raises(SchemaMismatch, match="`eclip copy`"):
        ServerStore(client, "old", replace(old.store.identity, schema_version=SCHEMA_VERSION))
    new, fresh = open_library("new"), open_library("fresh")
    fresh.put_many(STUDIES, deadline)
    with open_existing("old", tmp_path, lambda: client) as (store, renditions):
        assert total(copy(store, renditions, new)) == Outcome(len(STUDIES))
        assert_moved(store, new.store, fresh.store)


def test_a_library_of_a_version_that_cannot_be_read_is_not_copied(open_library, tmp_path):
    for version in (2, SCHEMA_VERSION + 1):
        open_library(f"v{version}", schema_version=version).store.close()
        with pytest.raises(SchemaMismatch, match=f"schema version {version}"):
            EdgeStore.existing(tmp_path / f"v{version}")
