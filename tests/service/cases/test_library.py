import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from service.cases.library import Query
from service.cases.operations import Remove, Selection
from service.cases.records import NewStudy, StudyRecord
from service.cases.writing import WriteLock
from service.deadline import Deadline
from service.errors import (
    DeadlineExceeded,
    EclipError,
    ImageUnsupported,
    RequestMalformed,
    StudyInvalid,
    StudyUnknown,
)
from service.settings import DEMO_LIBRARY

PICTURES = [path.read_bytes() for path in sorted(DEMO_LIBRARY.parent.glob("images/*.jpg"))[:4]]
REPORT = "FINDINGS: Small left effusion. No pneumothorax. IMPRESSION: Effusion."


def study(study_id, *images, patient_id="p1", report=REPORT, **fields):
    return NewStudy(study_id, StudyRecord(patient_id=patient_id, report=report, **fields), images)


def everything(library, deadline, patient_id=None, study_id=None):
    vector = library.encoder.image(PICTURES[0], deadline).vector
    exclude = library.exclusion(patient_id, study_id)
    return library.search(vector, Query(target="report", k=50, exclude=exclude))


def files(tmp_path: Path):
    return sorted((tmp_path / "renditions").rglob("*.jpg"))


@pytest.mark.parametrize("subject", [("", None), (None, ""), ("p//1", None)])
def test_an_excluded_id_that_is_none_is_refused(library, subject):
    """An empty variable in a script would else leave the patient's own cases in."""
    with pytest.raises(RequestMalformed):
        library.exclusion(*subject)


def test_a_study_comes_back_under_its_own_id_and_its_pseudonym(library, deadline):
    stored = library.put(study("s1", PICTURES[0], view="PA", findings=["effusion"]), deadline)
    assert library.get("s1") == library.get(stored.study_id) == stored
    assert stored.study_id.startswith("stu_")
    assert stored.patient_id.startswith("pat_")
    assert [p.text for p in stored.passages][1] == "No pneumothorax."
    assert stored.images[0].view == "PA"


def test_renditions_are_jpegs_without_metadata(library, deadline):
    exif = Image.Exif()
    exif[0x010E] = "a patient's name"
    photo = io.BytesIO()
    Image.open(io.BytesIO(PICTURES[0])).save(photo, "JPEG", exif=exif, comment=b"a name")
    library.put(study("s1", photo.getvalue()), deadline)
    jpeg = library.rendition("s1")
    rendition = Image.open(io.BytesIO(jpeg))
    assert rendition.format == "JPEG"
    assert not rendition.getexif()
    assert b"a name" not in jpeg
    assert b"patient" not in jpeg


def test_the_excluded_patient_is_never_found(library, deadline):
    library.put_many(
        [study(f"s{i}", PICTURES[i], patient_id=f"p{i % 2}") for i in range(4)], deadline
    )
    assert len(everything(library, deadline)) == 4
    hidden = library.get("s0").patient_id
    for patient in ("p0", hidden):
        hits = everything(library, deadline, patient_id=patient)
        assert len(hits) == 2
        assert hidden not in {hit.patient_id for hit in hits}
    assert len(everything(library, deadline, study_id="s1")) == 2


def test_an_unchanged_study_is_not_written_again(library, deadline, monkeypatch):
    library.put(study("s1", PICTURES[0]), deadline)
    written = []
    monkeypatch.setattr(library.store, "put", lambda studies, _: written.extend(studies))
    library.put(study("s1", PICTURES[0]), deadline)
    assert written == []


def test_a_new_version_replaces_the_old_one_whole(library, deadline, tmp_path):
    library.put(study("s1", PICTURES[0], PICTURES[1]), deadline)
    library.put(study("s1", PICTURES[2], report="Clear lungs."), deadline)
    assert library.store.count() == 1
    assert [p.text for p in library.get("s1").passages] == ["Clear lungs."]
    assert len(everything(library, deadline)) == 1
    assert len(files(tmp_path)) == 1


def test_deleting_a_study_leaves_nothing_of_it(library, deadline, tmp_path):
    library.put(study("s1", PICTURES[0]), deadline)
    library.delete("s1")
    assert library.store.count() == 0
    assert everything(library, deadline) == []
    assert files(tmp_path) == []
    with pytest.raises(StudyUnknown):
        library.get("s1")
    with pytest.raises(StudyUnknown):
        library.delete("s1")


def test_two_studies_with_the_same_picture_do_not_share_its_rendition(library, deadline):
    library.put_many([study("s1", PICTURES[0]), study("s2", PICTURES[0])], deadline)
    library.delete("s1")
    assert library.rendition("s2")


@pytest.mark.slow
def test_concurrent_writes_of_one_study_leave_it_whole_and_nothing_else(
    library, deadline, tmp_path
):
    versions = [study("s1", PICTURES[index % 2]) for index in range(16)]
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda version: library.put(version, deadline), versions))
    assert {outcome.study_id for outcome in outcomes} == {library.get("s1").study_id}
    assert library.rendition("s1")
    assert len(files(tmp_path)) == 1


def test_a_lost_image_is_an_error_and_comes_back_with_the_next_write(library, deadline, tmp_path):
    library.put(study("s1", PICTURES[0]), deadline)
    (rendition,) = files(tmp_path)
    rendition.unlink()
    with pytest.raises(StudyUnknown, match="not on this server's disk"):
        library.rendition("s1")
    library.put(study("s1", PICTURES[0]), deadline)
    assert library.rendition("s1")


def test_a_bad_study_in_a_batch_harms_no_other(library, deadline):
    outcomes = library.put_many(
        [study("s1", PICTURES[0]), study("s2", b"no image"), study("s3", report=None)], deadline
    )
    assert [type(outcome) for outcome in outcomes[1:]] == [ImageUnsupported, StudyInvalid]
    assert not isinstance(outcomes[0], EclipError)
    assert library.store.count() == 1


@pytest.mark.parametrize(
    "key", ["PatientName", "mrn", "date_of_birth", "accession number", "SOPInstanceUID", "uid"]
)
def test_metadata_that_looks_like_an_identifier_is_refused(library, deadline, key):
    with pytest.raises(StudyInvalid) as refused:
        library.put(study("s1", metadata={key: "Doe"}), deadline)
    assert "Doe" not in refused.value.detail


def test_metadata_about_a_finding_is_accepted(library, deadline):
    stored = library.put(study("s1", metadata={"pleural_fluid": True, "age": 61}), deadline)
    assert stored.metadata == {"pleural_fluid": True, "age": 61}


def test_asking_for_an_image_that_is_not_there_is_a_typed_error(library, deadline):
    library.put(study("s1"), deadline)
    with pytest.raises(StudyUnknown, match="0 images"):
        library.rendition("s1")


def test_a_named_study_leaves_its_patients_others_out_too(library, deadline):
    """Another study of the same patient may hold the answer."""
    for name, patient in (("s1", "p1"), ("s2", "p1"), ("s3", "p2"), ("s4", None), ("s5", None)):
        library.put(study(name, patient_id=patient), deadline)

    def found(**query):
        hits = everything(library, deadline, **query)
        return {
            name
            for name in ("s1", "s2", "s3", "s4", "s5")
            for hit in hits
            if hit.study_id == library.get(name).study_id
        }

    assert found(study_id="s1") == {"s3", "s4", "s5"}
    assert found(study_id="s4") == {"s1", "s2", "s3", "s5"}
    assert found(study_id="s1", patient_id="p2") == {"s4", "s5"}
    assert found(study_id="unknown") == {"s1", "s2", "s3", "s4", "s5"}


def test_nothing_of_a_deleted_patient_stays(library, deadline, tmp_path):
    """Whatever points there are: the store is scrolled, and its renditions are listed."""
    for number, patient in enumerate(("p1", "p1", "p2")):
        library.put(study(f"s{number}", PICTURES[number], patient_id=patient), deadline)
    theirs = library.get("s0").patient_id
    assert library.delete_patient("p1") == 2
    left = [point.payload for point in library.store.points()]
    assert {payload["patient_id"] for payload in left} == {library.get("s2").patient_id}
    assert theirs not in repr(left)
    assert [path.stem for path in files(tmp_path)] == [library.get("s2").images[0].rendition]
    assert library.delete_patient("p1") == 0


def test_a_deletion_that_was_cut_short_is_finished_by_the_next(library, deadline, monkeypatch):
    for name in ("s0", "s1"):
        library.put(study(name, PICTURES[0]), deadline)
    with monkeypatch.context() as patch:
        patch.setattr(library.store, "delete_patient", fails)
        with pytest.raises(OSError, match="killed"):
            library.delete_patient("p1")
    assert library.delete_patient("p1") == 2
    assert library.store.count() == 0


def fails(*_):
    raise OSError("killed")


@pytest.mark.parametrize("other", ["thread", "process"])
def test_a_write_that_waits_longer_than_its_deadline_is_refused(library, tmp_path, other):
    studies = [study("s1", PICTURES[0]), study("s2")]
    theirs = library.store.writing if other == "thread" else WriteLock(tmp_path / "studies")
    with ThreadPoolExecutor(1) as thread, theirs.held():
        refused = thread.submit(library.put_many, studies, Deadline(0.5)).result()
    assert [type(each) for each in refused] == [DeadlineExceeded, DeadlineExceeded]
    assert library.store.count() == 0
    assert files(tmp_path) == []


def test_what_a_cut_write_left_of_a_patient_is_removed_too(library, deadline):
    """Parts are written before the record that makes them a study."""
    library.put(study("s0", PICTURES[0]), deadline)
    record = Selection(must={"part": ["study"]})
    library.store._write([Remove(record)])
    assert everything(library, deadline)
    assert library.delete_patient("p1") == 0
    assert everything(library, deadline) == []
    library.put(study("s0", PICTURES[0]), deadline)
    library.store._write([Remove(record)])
    library.delete("s0")
    assert everything(library, deadline) == []
    with pytest.raises(StudyUnknown):
        library.delete("s0")
