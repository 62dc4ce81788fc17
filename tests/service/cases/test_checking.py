"""`eclip check` finds every kind of fault by name, and its repairs leave a sound library."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from service.cases.checking import Kind, faults
from service.cases.operations import BlankDigest, Remove, Selection, Upsert, records_of
from service.cases.points import RECORD, to_points
from service.cases.renditions import Renditions, name_of
from service.cases.repairs import MEANINGS, REMEDIES, repair
from service.cases.tally import Tally
from service.errors import StoreUnavailable

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:service")  # qdrant's local mode

STUDIES = 12
MARKED = {
    Kind.UNREADABLE_POINTS,
    Kind.MISSING_PARTS,
    Kind.WRONG_VECTORS,
    Kind.MISSING_RENDITIONS,
    Kind.DAMAGED_RENDITIONS,
}
"""Kinds whose repair leaves a study that the next `eclip index` writes again."""


def jpeg(reference):
    picture = io.BytesIO()
    shade = sum(reference.encode()) % 200
    Image.fromarray(np.full((24, 24), shade, np.uint8)).save(picture, format="JPEG")
    return picture.getvalue()


@pytest.fixture
def illustrated(study):
    """Makes a study whose one image has a true rendition, and returns both."""

    def make(reference):
        whole = study(reference, patient_id=f"of {reference}")
        image = replace(whole.study.images[0], rendition=name_of(reference, jpeg(reference)))
        return replace(whole, study=replace(whole.study, images=(image,)))

    return make


@pytest.fixture
def renditions(tmp_path):
    return Renditions(tmp_path / "renditions" / "cases")


@pytest.fixture
def write(store, renditions, illustrated):
    """Writes studies whole, as `eclip index` does."""

    def put(*references):
        for reference in references:
            renditions.write(name_of(reference, jpeg(reference)), jpeg(reference))
        store.put([illustrated(reference) for reference in references])

    return put


@pytest.fixture
def references():
    return [f"s{number}" for number in range(STUDIES)]


@pytest.fixture
def library(store, renditions, write, references, tmp_path):
    """A sound library of studies s0, s1, …"""
    store.tally = Tally(tmp_path / "cases.count")
    write(*references)
    assert found(store, renditions) == []
    return store


def found(store, renditions):
    return list(faults(store, renditions, lambda _: None))


def engine(store, *operations):
    """Does to the engine what no program of ours would."""
    store._write(operations)


class Damage:
    """Ways to damage study s3 of a library, each named as the fault that it is."""

    def __init__(self, store, renditions, illustrated):
        self.store, self.renditions = store, renditions
        self.points = {point.part: point for point in to_points(illustrated("s3"))}
        self.name = illustrated("s3").study.images[0].rendition
        self.others = to_points(illustrated("gone"))
        self.file = renditions._path(self.name)

    def unreadable_points(self):
        payload = {"part": "image", "study_id": "s3", "patient_id": "of s3"}
        engine(self.store, Upsert([replace(self.points["image"], payload=payload)]))

    def unreadable_studies(self):
        payload = {"part": RECORD, "study_id": "s3", "digest": "d", "images": "none"}
        engine(self.store, Upsert([replace(self.points[RECORD], payload=payload)]))

    def orphaned_points(self):
        engine(self.store, Upsert(self.others[:-1]))

    def unfinished_studies(self):
        engine(self.store, BlankDigest(records_of(["s3"])))

    def missing_parts(self):
        engine(self.store, Remove(Selection(ids=[self.points["passage"].id])))

    def wrong_vectors(self):
        vector = np.zeros(16, np.float32)
        engine(self.store, Upsert([replace(self.points["report"], vector=vector)]))

    def missing_renditions(self):
        self.file.unlink()

    def damaged_renditions(self):
        content = bytearray(self.file.read_bytes())
        content[-30] ^= 1
        self.file.write_bytes(content)

    def orphaned_renditions(self):
        self.renditions.write("ab" * 32, jpeg("any"))

    def missing_studies(self):
        self.store.tally.set(STUDIES + 1)


@pytest.fixture
def damage(library, renditions, illustrated):
    return Damage(library, renditions, illustrated)


ALSO = {Kind.UNREADABLE_STUDIES: {Kind.ORPHANED_POINTS, Kind.ORPHANED_RENDITIONS}}
"""Faults that follow from another one."""


@pytest.mark.parametrize("kind", Kind)
def test_each_damage_is_found_by_its_name_and_repaired(
    library, renditions, damage, write, references, kind
):
    before = library.get_many(references)
    getattr(damage, kind.name.lower())()
    at_fault = found(library, renditions)
    assert {fault.kind for fault in at_fault} == {kind, *ALSO.get(kind, ())}
    assert {fault.study for fault in at_fault} <= {"s3", "gone", None}
    for fault in at_fault:
        repair(fault, library, renditions)
    left = [(fault.kind, fault.study) for fault in found(library, renditions)]
    assert left == ([(Kind.UNFINISHED_STUDIES, "s3")] if kind in MARKED else [])
    write("s3")
    assert found(library, renditions) == []
    same_studies(library.get_many(references), before)


def test_ten_damages_at_once_hide_neither_each_other_nor_a_sound_study(
    library, renditions, illustrated, write, references
):
    for number, kind in enumerate(Kind):
        damage = Damage(library, renditions, illustrated)
        damage.points = {p.part: p for p in to_points(illustrated(f"s{number}"))}
        damage.file = renditions._path(illustrated(f"s{number}").study.images[0].rendition)
        if kind == Kind.UNFINISHED_STUDIES:
            engine(library, BlankDigest(records_of([f"s{number}"])))
        else:
            getattr(damage, kind.name.lower())()
    damaged = references[: len(Kind)]
    sound = references[len(Kind) :]
    before = library.get_many(sound)
    at_fault = found(library, renditions)
    assert {fault.kind for fault in at_fault} == set(Kind)
    assert not {fault.study for fault in at_fault} & set(sound)
    for fault in at_fault:
        repair(fault, library, renditions)
    for fault in found(library, renditions):
        assert fault.kind == Kind.UNFINISHED_STUDIES
        repair(fault, library, renditions)
    assert found(library, renditions) == []
    same_studies(library.get_many(sound), before)
    write(*damaged)
    assert found(library, renditions) == []


def same_studies(studies, others):
    assert studies.keys() == others.keys()
    for reference, one in studies.items():
        other = others[reference]
        assert one.study == other.study
        for theirs, ours in zip(vectors(one), vectors(other), strict=True):
            assert np.allclose(theirs, ours, atol=1e-6)  # written again, they were scaled again


def vectors(embedded):
    return (*embedded.image_vectors, embedded.report_vector, *embedded.passage_vectors)


def test_orphaned_points_are_counted_one_by_one(library, renditions, damage):
    """Whichever pages of the engine they come in."""
    damage.orphaned_points()
    assert sum(fault.number for fault in found(library, renditions)) == len(damage.others) - 1


def test_a_fault_may_be_repaired_as_it_comes(library, renditions, damage):
    damage.unreadable_studies()
    kinds = []
    for fault in faults(library, renditions, lambda _: None):
        kinds.append(fault.kind)
        repair(fault, library, renditions)
    assert set(kinds) == {Kind.UNREADABLE_STUDIES, *ALSO[Kind.UNREADABLE_STUDIES]}
    assert found(library, renditions) == []
    assert library.count() == STUDIES - 1


def test_studies_without_texts_vectors_and_without_images_are_sound(store, study, renditions):
    """As a bundle of images alone writes them, and as reports alone are stored."""
    silent = study("silent", views=())
    store.put([replace(silent, report_vector=None, passage_vectors=()), study("t", views=())])
    assert found(store, renditions) == []


def test_an_image_without_its_vector_is_a_wrong_vector(library, renditions, damage):
    engine(library, Upsert([replace(damage.points["image"], vector=None)]))
    (fault,) = found(library, renditions)
    assert (fault.kind, fault.study) == (Kind.WRONG_VECTORS, "s3")


def test_a_vector_that_is_not_finite_is_a_wrong_vector(open_edge, study, renditions):
    store = open_edge()
    store.put([study("s", views=()), study("t", views=())])
    report = to_points(study("t", views=()))[0]
    engine(store, Upsert([replace(report, vector=np.full(16, np.nan, np.float32))]))
    (fault,) = found(store, renditions)
    assert (fault.kind, fault.study) == (Kind.WRONG_VECTORS, "t")
    store.close()


def test_a_study_that_an_engine_fails_to_read_once_is_sound(store, write, renditions, monkeypatch):
    """As a server does that is busy for a moment: a repair would remove the study's record."""
    write("s")
    points, failures = store.points, iter([StoreUnavailable("busy")])

    def busy(selection):
        if failure := next(failures, None):
            raise failure
        return points(selection)

    monkeypatch.setattr(store, "points", busy)
    assert found(store, renditions) == []


def test_every_study_is_counted(library, renditions):
    counted = []
    assert list(faults(library, renditions, counted.append)) == []
    assert sum(counted) == STUDIES


def test_every_kind_has_its_meaning_and_remedy():
    assert set(MEANINGS) == set(REMEDIES) == set(Kind)


def test_what_the_engine_cannot_read_is_one_fault_each(open_edge, path, study, renditions):
    """Bytes of two payloads are changed in the files, so that reading either fails."""
    store = open_edge()
    store.put([study(f"s{number}", views=()) for number in range(200)])
    texts = study("s17", views=()).study.passages[0].text, study("s90", views=()).study.report
    store.close()
    spoil(path, *texts)
    store = open_edge()
    at_fault = found(store, renditions)
    assert Kind.UNREADABLE_POINTS in {fault.kind for fault in at_fault}
    assert {fault.study for fault in at_fault} <= {"s17", "s90", None}
    for fault in at_fault:
        repair(fault, store, renditions)
    for fault in found(store, renditions):
        assert (fault.kind, fault.study) in {(Kind.UNFINISHED_STUDIES, n) for n in ("s17", "s90")}
    assert len(list(store.studies())) == 198
    store.erase()  # rewrites every segment, and so reads all that is left
    store.close()


def spoil(path, *texts):
    """Makes each text invalid where the engine's segments hold it."""
    for file in path.glob("collection/**/segments/**/*"):
        content = file.read_bytes() if file.is_file() else b""
        for text in texts:
            if text.encode() in content:
                content = content.replace(text.encode(), b"\xff" * len(text))
                file.write_bytes(content)
