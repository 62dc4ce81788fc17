import os
from dataclasses import replace

import pytest

from training.data.gather import gather, place, with_gaze, write_manifests
from training.data.manifest import read_manifest
from training.data.study import DataError, Gaze, ManifestStudy, Skipped

STUDY = ManifestStudy("s1", "p1", "test", ("1.png",), "Clear lungs.", view="PA")


def test_studies_are_kept_and_reasons_counted():
    found = [Skipped("no image"), STUDY, Skipped("no image"), Skipped("empty report")]
    studies, skipped = gather(found)
    assert studies == [STUDY]
    assert skipped == {"no image": 2, "empty report": 1}


def test_a_study_that_is_repeated_is_skipped_and_one_that_differs_is_refused():
    studies, skipped = gather([STUDY, replace(STUDY)])
    assert (studies, skipped) == ([STUDY], {"repeated": 1})
    with pytest.raises(DataError, match="two different studies have the id 's1'"):
        gather([STUDY, replace(STUDY, patient_id="p2")])


@pytest.mark.parametrize("image", ["../1.png", "a/../../1.png", "/1.png"])
def test_an_image_outside_of_the_data_set_is_refused(image):
    with pytest.raises(DataError, match="outside of the data set's folder"):
        gather([replace(STUDY, images=(image,))])


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "downloaded.png"
    path.write_bytes(b"pixels")
    return path


def test_an_image_is_placed_as_a_link(image, tmp_path):
    target = tmp_path / "out" / "images" / "1.png"
    place(image, target)
    assert target.samefile(image)


def test_where_no_link_can_be_made_the_image_is_copied(image, tmp_path, monkeypatch):
    def other_device(*_, **__):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_device)
    place(image, tmp_path / "1.png")
    assert (tmp_path / "1.png").read_bytes() == b"pixels"
    assert not (tmp_path / "1.png").samefile(image)


def test_what_lay_there_is_replaced_and_never_written_through(image, tmp_path):
    older = tmp_path / "older.png"
    older.write_bytes(b"other")
    target = tmp_path / "1.png"
    place(older, target)
    place(image, target)
    place(image, target)
    assert (older.read_bytes(), target.read_bytes()) == (b"other", b"pixels")


def test_a_data_set_may_be_gathered_where_it_lies(image):
    place(image, image)
    assert image.read_bytes() == b"pixels"


def test_a_symbolic_link_is_followed(image, tmp_path):
    (tmp_path / "link.png").symlink_to(image.name)
    place(tmp_path / "link.png", tmp_path / "out" / "1.png")
    assert (tmp_path / "out" / "1.png").read_bytes() == b"pixels"


def test_gaze_and_split_are_for_training_and_the_service_gets_no_gaze(tmp_path):
    study = replace(STUDY, gaze=(Gaze((0.5,), (0.5,), (80.0,)),), split="test")
    write_manifests(tmp_path / "out", [study])
    assert list(read_manifest(tmp_path / "out" / "studies.parquet")) == [study]
    assert list(read_manifest(tmp_path / "out" / "studies.jsonl")) == [replace(study, gaze=())]


def test_gaze_of_another_data_set_joins_the_study_whose_image_it_is_on():
    gaze = (Gaze((0.5,), (0.5,), (100.0,)),)
    mimic = [
        ManifestStudy("s1", "p", "mimic_cxr", ("files/a.jpg", "files/b.jpg"), "Effusion."),
        ManifestStudy("s2", "p", "mimic_cxr", ("files/c.jpg",), "Clear."),
    ]
    egd = [
        ManifestStudy("b", "p", "egd_cxr", ("elsewhere/b.dcm",), "", gaze=gaze),
        ManifestStudy("c", "p", "egd_cxr", ("elsewhere/c.dcm",), ""),
    ]
    joined, other = with_gaze(mimic, egd)
    assert joined == replace(mimic[0], images=("files/b.jpg", "files/a.jpg"), gaze=gaze)
    assert other == mimic[1]


def test_gaze_that_is_on_no_image_is_refused():
    study = ManifestStudy("s1", "p", "mimic_cxr", ("a.jpg",), "")
    with pytest.raises(DataError, match="none of these images"):
        with_gaze([study], [replace(study, images=("b.jpg",), gaze=(Gaze(),))])
