import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from qdrant_client import QdrantClient

from service.bundle.manifest import load, seal
from service.cases.copying import SEARCHED, copy, missing, searched_alike
from service.cases.ingest import total
from service.cases.library import CaseLibrary
from service.cases.places import renditions_of
from service.cases.records import NewStudy, StudyRecord
from service.cases.schema import CaseFilter
from service.cases.server import ServerStore
from service.errors import BundleMismatch, StoreUnavailable
from service.settings import DEMO_BUNDLE, DEMO_LIBRARY, Settings
from service.wiring import open_other_library, open_services
from tests.service.cases.conftest import KEY
from tests.support.changed_bundles import image_only

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning:service"),  # qdrant's local mode
]
PICTURES = [path.read_bytes() for path in sorted(DEMO_LIBRARY.parent.glob("images/*.jpg"))[:3]]
STUDIES = 20


def record(number, **fields):
    report = f"FINDINGS: Nodule of {number} mm. No effusion. IMPRESSION: Nodule."
    return StudyRecord(patient_id=f"p{number % 7}", report=report, findings=["nodule"], **fields)


@pytest.fixture
def library(open_library, deadline):
    """Of some studies, the first with three views."""
    library = open_library()
    first = NewStudy("s0", record(0), tuple(PICTURES), ("PA", "LL", None))
    others = [NewStudy(f"s{n}", record(n), (PICTURES[n % 3],)) for n in range(1, STUDIES)]
    library.put_many([first, *others], deadline)
    return library


@pytest.fixture
def on_server(library, tmp_path):
    """An empty library of the same bundle and key on the other engine."""
    store = ServerStore(QdrantClient(":memory:"), "cases", library.store.identity)
    renditions = renditions_of(tmp_path / "two", "cases")
    return CaseLibrary(store, library.encoder, library.pseudonyms, renditions)


@pytest.fixture
def another_bundle(tmp_path):
    """The demo bundle under another id."""
    folder = shutil.copytree(DEMO_BUNDLE, tmp_path / "bundle")
    return seal(folder, load(DEMO_BUNDLE).manifest.model_copy(update={"version": "other"}))


@pytest.fixture
def renditions(tmp_path):
    """Those of `library`."""
    return renditions_of(tmp_path, "studies")


def copied(*arguments):
    return total(copy(*arguments))


def test_a_library_moves_to_another_engine_as_it_is(library, on_server, renditions):
    assert missing(library.store, on_server.store) == STUDIES
    outcome = copied(library.store, renditions, on_server)
    assert (outcome.stored, outcome.rejected) == (STUDIES, ())
    assert missing(library.store, on_server.store) == 0
    assert searched_alike(library.store, on_server.store, STUDIES) == (STUDIES, STUDIES)
    for name in ("s0", "s9"):
        assert on_server.get(name) == library.get(name)
        assert on_server.rendition(name) == library.rendition(name)
    assert on_server.store.facets(CaseFilter()) == library.store.facets(CaseFilter())
    copied(library.store, renditions, on_server)
    assert on_server.store.count() == STUDIES


def test_a_library_of_images_alone_is_compared_by_its_images(library, on_server):
    """The copy's proof: its studies have no vectors of reports."""
    whole = library.store.studies()
    silent = [replace(each, report_vector=None, passage_vectors=()) for each in whole]
    for store in (library.store, on_server.store):
        store.put(silent)
    assert searched_alike(library.store, on_server.store, STUDIES) == (STUDIES, STUDIES)


def test_a_copy_finds_the_same_of_studies_that_are_alike(library, on_server, renditions, deadline):
    """More of them than a search returns, so that the limit cuts among equal scores."""
    alike = StudyRecord(report="FINDINGS: No effusion. IMPRESSION: Normal chest.")
    library.put_many([NewStudy(f"alike{n}", alike, ()) for n in range(15)], deadline)
    copied(library.store, renditions, on_server)
    everything = STUDIES + 15
    assert searched_alike(library.store, on_server.store, everything) == (everything, everything)


@pytest.mark.parametrize(
    ("best", "alike"), [(0.9, False), (0.5015, False), (0.5, True), (0.4995, True)]
)
def test_a_study_that_is_not_found_must_score_as_the_last_that_is(study, best, alike):
    """Also where all ten nearest score alike, as copies of a study do."""
    found = {
        name: [SimpleNamespace(study_id=f"{name}{n}", score=score) for n in range(SEARCHED)]
        for name, score in (("some", best), ("others", 0.5))
    }
    source, target = (
        SimpleNamespace(studies=lambda: iter([study("s")]), search=lambda *_, hits=hits, **__: hits)
        for hits in found.values()
    )
    assert searched_alike(source, target, 1) == (int(alike), 1)


def test_a_copy_that_was_cut_short_goes_on(library, on_server, renditions):
    assert next(copy(library.store, renditions, on_server)).stored > 0
    begun = on_server.store.count()
    assert 0 < begun < STUDIES
    assert missing(library.store, on_server.store) == STUDIES - begun
    copied(library.store, renditions, on_server)
    assert missing(library.store, on_server.store) == 0


def test_what_the_copy_has_of_a_study_stays_as_it_is(library, on_server, renditions, deadline):
    """Between the first copy and the second it may have been in use."""
    copied(library.store, renditions, on_server)
    on_server.put(NewStudy("s5", record(99), ()), deadline)
    library.put(NewStudy("s24", record(24), ()), deadline)
    assert copied(library.store, renditions, on_server).stored == 1
    assert on_server.get("s24") == library.get("s24")
    assert "99 mm" in on_server.get("s5").report


def test_a_study_whose_image_is_gone_is_rejected_with_a_reason(library, on_server, renditions):
    own = library.get("s0").images[0].rendition
    next(renditions.folder.rglob(f"{own}.jpg")).unlink()
    outcome = copied(library.store, renditions, on_server)
    assert outcome.stored == on_server.store.count() == STUDIES - 1
    assert "not on this disk" in outcome.rejected[0].reason
    assert missing(library.store, on_server.store) == 1


def test_a_copy_and_its_source_share_no_image(library, on_server, renditions):
    copied(library.store, renditions, on_server)
    on_server.delete_patient("p1")
    assert library.rendition("s1")


def test_a_library_is_embedded_again_for_another_bundle(
    library, another_bundle, renditions, tmp_path
):
    """The same weights under another id: vectors differ by no more than a rendition's JPEG."""
    (tmp_path / "identifiers.key").write_text(KEY.hex())
    settings = Settings(data_dir=tmp_path, collection="again", bundle=another_bundle.path)
    with open_services(settings) as wired:
        outcome = copied(library.store, renditions, wired.library)
        assert (outcome.stored, outcome.rejected) == (STUDIES, ())
        old, new = (
            {one.study.study_id: one for one in store.studies()}
            for store in (library.store, wired.library.store)
        )
        assert old.keys() == new.keys()
        for study_id, one in old.items():
            again = new[study_id]
            changed = {"digest": again.study.digest, "images": again.study.images}
            assert replace(one.study, **changed) == again.study
            assert [i.view for i in one.study.images] == [i.view for i in again.study.images]
            for vector, other in zip(one.image_vectors, again.image_vectors, strict=True):
                assert vector @ other > 0.99
            assert one.report_vector @ again.report_vector > 0.9999
        digests = wired.library.store.digests(new)
        copied(library.store, renditions, wired.library)
        assert wired.library.store.digests(new) == digests


def test_a_study_whose_image_is_gone_harms_no_other_study(
    library, another_bundle, renditions, tmp_path
):
    own = library.get("s0").images[0].rendition
    next(renditions.folder.rglob(f"{own}.jpg")).unlink()
    (tmp_path / "identifiers.key").write_text(KEY.hex())
    settings = Settings(data_dir=tmp_path, collection="again", bundle=another_bundle.path)
    with open_services(settings) as wired:
        outcome = copied(library.store, renditions, wired.library)
    assert outcome.stored == STUDIES - 1
    assert "not on this disk" in outcome.rejected[0].reason


def test_a_library_gains_and_loses_its_vectors_of_texts(library, renditions, tmp_path):
    """It moves to a bundle of images alone, and back."""
    (tmp_path / "identifiers.key").write_text(KEY.hex())
    silent = image_only(shutil.copytree(DEMO_BUNDLE, tmp_path / "images-alone"))
    settings = Settings(data_dir=tmp_path, collection="silent", bundle=silent.path)
    back = Settings(data_dir=tmp_path, collection="back")
    with open_services(settings) as alone, open_services(back) as again:
        outcome = copied(library.store, renditions, alone.library)
        assert (outcome.stored, outcome.rejected) == (STUDIES, ())
        for one in alone.library.store.studies():
            assert (one.report_vector, one.passage_vectors) == (None, ())
            assert one.study.passages
        outcome = copied(alone.library.store, renditions_of(tmp_path, "silent"), again.library)
        assert (outcome.stored, outcome.rejected) == (STUDIES, ())
        for one in again.library.store.studies():
            assert one.report_vector is not None
            assert len(one.passage_vectors) == len(one.study.passages)


def test_a_library_of_another_key_is_refused(library, renditions, tmp_path):
    with (
        open_services(Settings(data_dir=tmp_path / "other")) as wired,
        pytest.raises(BundleMismatch, match=r"same identifiers\.key"),
    ):
        copied(library.store, renditions, wired.library)


def test_a_place_without_a_library_is_refused(tmp_path):
    settings = Settings(data_dir=tmp_path)
    for name, reason in (("nowhere", "ECLIP_QDRANT_URL"), (str(tmp_path), "no case library")):
        with pytest.raises(StoreUnavailable, match=reason), open_other_library(settings, name):
            pass
