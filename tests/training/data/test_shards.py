import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import webdataset
from PIL import Image

from service.bundle.preprocess import ImageSpec, preprocess
from service.cases.sources import open_source
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.support.drafts import leave_drafts
from tests.support.paths import ROOT
from training.data import shards
from training.data.experts import Experts
from training.data.gaze import Sigma
from training.data.manifest import read_manifest, write_manifest
from training.data.phantom import PhantomConfig, phantom
from training.data.reading import ImageUnreadable, study_pairs
from training.data.shard_index import ShardLayout
from training.data.shards import open_shards, write_shards
from training.data.study import DataError, Gaze, ManifestStudy

pytestmark = pytest.mark.slow

SPEC = ImageSpec(height=32, width=32)
SIGMA = Sigma(2.0, "pixel")
WHOLE = (1.0, 0.0, 0.0)


@pytest.fixture
def folder(tmp_path):
    """Eleven phantoms as a user's folder, in shards of four; one image is damaged."""
    (tmp_path / "images").mkdir()
    return tmp_path


@pytest.fixture
def studies(folder, monkeypatch):
    monkeypatch.setattr(shards, "STUDIES_A_SHARD", 4)
    drawn = [phantom(PhantomConfig(size=48), index) for index in range(11)]
    for one in drawn:
        Image.fromarray(one.image).save(folder / one.study.images[0])
    return [
        one.study if index % 3 else replace(one.study, gaze=()) for index, one in enumerate(drawn)
    ]


def write(studies, folder, **changes):
    return write_shards(
        studies, folder, folder / "shards", **{"spec": SPEC, "sigma": SIGMA} | changes
    )


def read(folder, split="train", fractions=WHOLE, spec=SPEC):
    return open_shards(folder / "shards", fractions, spec)(split)


def test_pairs_in_shards_are_the_pairs_in_memory(studies, folder):
    studies = [replace(studies[0], findings=None), *studies[1:]]
    assert write(studies, folder).pairs == 11
    stored, direct = read(folder), study_pairs(studies, folder, SPEC, SIGMA)
    assert stored.studies == direct.studies
    np.testing.assert_array_equal(stored.images[:], direct.images)
    np.testing.assert_array_equal(stored.heatmaps[:], direct.heatmaps)
    rows = np.array([9, 0, 4])
    np.testing.assert_array_equal(stored.images[rows], direct.images[rows])
    np.testing.assert_array_equal(stored.images[3], direct.images[3])
    one, other = (Experts.of(pairs, 1, "own", 0) for pairs in (stored, direct))
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.heatmaps, other.heatmaps)


def test_training_and_serving_see_the_same_pixels(studies, folder):
    write(studies, folder)
    drawn = phantom(PhantomConfig(size=48), 7).image
    np.testing.assert_array_equal(read(folder).images[7], preprocess(drawn, SPEC))


def test_splits_are_disjoint_and_complete(studies, folder):
    write(studies, folder)
    parts = [read(folder, split, (0.5, 0.2, 0.3)) for split in ("train", "validation", "test")]
    ids = [study.study_id for part in parts for study in part.studies]
    assert sorted(ids) == sorted(study.study_id for study in studies)
    for part in parts:
        for image, study in zip(part.images[:], part.studies, strict=True):
            pixels = np.asarray(Image.open(folder / study.images[0]))
            np.testing.assert_array_equal(image, preprocess(pixels, SPEC))


def test_any_webdataset_reader_can_stream_them(studies, folder):
    write(studies, folder)
    tars = sorted(str(path) for path in (folder / "shards").glob("*.tar"))
    samples = list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False))
    assert [sample["txt"].decode() for sample in samples] == [study.report for study in studies]
    assert [json.loads(s["json"])["study_id"] for s in samples] == [s.study_id for s in studies]
    assert all(sample["image.png"].startswith(b"\x89PNG") for sample in samples)


def test_a_shard_is_a_source_for_both_programs(studies, folder):
    """It has the facts of its manifest, so it needs none; its images are the prepared ones."""
    studies = [replace(studies[0], split="test"), *studies[1:]]
    write(studies, folder)
    tar = folder / "shards" / "000000.tar"
    source = open_source(tar)
    stored = [(entry.study.study_id, entry.study.record) for entry in source.entries]
    assert source.passed["heatmaps"] == 4
    for again, (study_id, record), study in zip(read_manifest(tar), stored, studies, strict=False):
        assert again == replace(study, images=again.images, gaze=())
        assert (study_id, record.patient_id) == (study.study_id, study.patient_id)
    again = study_pairs(read_manifest(tar), tar, SPEC)
    direct = study_pairs(studies[: len(again)], folder, SPEC)
    np.testing.assert_array_equal(again.images, direct.images)


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "shards").glob("*.tar")}


def test_a_second_run_keeps_what_is_whole_and_makes_what_is_not(studies, folder):
    first = write(studies, folder)
    assert (first.shards, first.kept) == (3, 0)
    before = times(folder)
    assert write(studies, folder).kept == 3
    assert times(folder) == before
    damaged = folder / "shards" / "000001.tar"
    data = bytearray(damaged.read_bytes())
    data[700] ^= 1
    damaged.write_bytes(data)
    (folder / "shards" / "000002.json").unlink()
    assert write(studies, folder).kept == 1
    np.testing.assert_array_equal(read(folder).images[:], study_pairs(studies, folder, SPEC).images)


def test_other_studies_or_another_input_are_written_anew(studies, folder):
    write(studies, folder)
    changed = [replace(studies[0], report="Another report."), *studies[1:]]
    assert write(changed, folder).kept == 2
    assert write(changed, folder, spec=ImageSpec(height=16, width=16)).kept == 0
    assert write(changed, folder, spec=ImageSpec(height=16, width=16), sigma=None).kept == 0


def test_no_draft_of_a_killed_call_is_left(studies, folder):
    write(studies, folder)
    files = sorted((folder / "shards").iterdir())
    for path in files:
        leave_drafts(path)
    damaged = folder / "shards" / "000001.tar"
    damaged.write_bytes(b"half")
    assert write(studies, folder).kept == 2
    assert sorted((folder / "shards").iterdir()) == files


def test_shards_of_version_0_1_are_of_the_same_studies():
    gaze = Gaze((0.25,), (0.5,), (180.0,), ((0.03, 0.02),), ((0.0, 0.0, 1.0, 1.0),))
    report = "FINDINGS: ManifestStudy(x) 'é'."
    seen = ("PA", ("nodule",), (gaze,), "train", {"age": 61})
    studies = [
        ManifestStudy("s1", "p1", "case", ("s1.png",), report, *seen),
        ManifestStudy("s2", "p2", "case", ("s2.png",), "No effusion.", findings=()),
    ]
    layout = ShardLayout(spec=SPEC, sigma=SIGMA, shards=1)
    recorded = "8a087abd346753b5d92cb9fc4e54181649fdc2fe6341c063605c77b51e87185e"
    assert shards._digest(layout, studies) == recorded


def test_writing_twice_gives_the_same_bytes(studies, folder):
    write(studies, folder)
    first = {p.name: p.read_bytes() for p in (folder / "shards").iterdir()}
    for path in (folder / "shards").iterdir():
        path.unlink()
    write(studies, folder)
    assert {p.name: p.read_bytes() for p in (folder / "shards").iterdir()} == first


def test_images_that_cannot_be_read_are_named_and_left_out(studies, folder):
    damaged, missing, hand = (studies[index].images[0] for index in (2, 5, 7))
    (folder / damaged).write_bytes(b"damaged")
    (folder / missing).unlink()
    (folder / hand).write_bytes(dicom_bytes(dicom_dataset(BodyPartExamined="HAND")))
    written = write(studies, folder)
    assert written.pairs == 8
    assert list(written.unread) == [damaged, missing, hand]
    assert written.unread[missing] == "No such file or directory."
    assert damaged not in written.unread[damaged]
    for image, reason in written.unread.items():
        said = f"cannot read {image} of study .*: {reason[:20]}"
        with pytest.raises(ImageUnreadable, match=said):
            study_pairs([s for s in studies if image in s.images], folder, SPEC)
    kept = [study for index, study in enumerate(studies) if index not in (2, 5, 7)]
    stored = read(folder)
    assert list(stored.studies) == kept
    np.testing.assert_array_equal(stored.images[:], study_pairs(kept, folder, SPEC).images)


def test_without_a_sigma_there_are_no_heatmaps(studies, folder):
    write(studies, folder, sigma=None)
    assert read(folder).heatmaps is None


def test_shards_that_are_not_for_this_run_are_refused(studies, folder):
    write(studies, folder)
    with pytest.raises(DataError, match="another image size"):
        read(folder, spec=ImageSpec(height=16, width=16))
    (folder / "shards" / "shards.json").unlink()
    with pytest.raises(DataError, match="no finished shards"):
        read(folder)


def test_shards_that_were_being_rewritten_are_not_read(studies, folder):
    """Else images would stand beside other patients' reports."""
    write(studies, folder)
    calls = []

    def stop():
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write([studies[-1], *studies[:-1]], folder, on_shard=stop)
    with pytest.raises(DataError, match="no finished shards"):
        read(folder)
    assert write(studies, folder).pairs == 11
    assert read(folder).studies == tuple(studies)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"name": "another\'s"}'])
@pytest.mark.parametrize("name", ["shards.json", "000001.json"])
def test_an_index_that_is_damaged_or_of_another_program_is_refused(studies, folder, name, content):
    write(studies, folder)
    (folder / "shards" / name).write_bytes(content)
    complaint = rf"cannot read shards/{name}: .* Delete it and run `eclip-train shards`"
    with pytest.raises(DataError, match=complaint):
        read(folder)


def test_a_damaged_index_stops_a_second_call_until_it_is_deleted(studies, folder):
    write(studies, folder)
    index = folder / "shards" / "000001.json"
    index.write_bytes(b"{}")
    with pytest.raises(DataError, match=r"000001\.json"):
        write(studies, folder)
    index.unlink()
    assert write(studies, folder).kept == 2


def test_a_manifest_of_other_studies_is_refused(studies, folder):
    write(studies, folder)
    write_manifest(folder / "shards" / "studies.parquet", studies[:-1])
    with pytest.raises(DataError, match="other studies"):
        read(folder)


def test_a_sigma_that_is_not_the_shards_is_refused(studies, folder):
    write(studies, folder)
    with pytest.raises(DataError, match="sigma"):
        open_shards(folder / "shards", WHOLE, SPEC, Sigma(1.0, "degree"))
    assert len(open_shards(folder / "shards", WHOLE, SPEC, SIGMA)("train")) == 11


def test_an_image_that_comes_back_is_taken_in(studies, folder):
    image = folder / studies[2].images[0]
    data = image.read_bytes()
    image.unlink()
    assert write(studies, folder).pairs == 10
    image.write_bytes(data)
    again = write(studies, folder)
    assert (again.pairs, again.kept, again.unread) == (11, 2, {})


def test_an_index_of_version_0_1_counted_what_could_not_be_read(studies, folder):
    (folder / studies[2].images[0]).unlink()
    write(studies, folder)
    index = folder / "shards" / "000000.json"
    record = json.loads(index.read_text())
    index.write_text(json.dumps(record | {"unread": {"FileNotFoundError": 1}}))
    assert len(read(folder)) == 10


def test_a_damaged_tar_is_named_when_it_is_read(studies, folder):
    write(studies, folder)
    tar = folder / "shards" / "000001.tar"
    tar.write_bytes(bytes(tar.stat().st_size))
    with pytest.raises(DataError, match=r"000001\.tar is damaged at byte"):
        read(folder).images[:]


FORK = """
import os, sys
from pathlib import Path
from service.bundle.preprocess import ImageSpec
from training.data.shards import open_shards
read = open_shards(Path(sys.argv[1]), (1, 0, 0), ImageSpec(height=32, width=32))
images = read("train").images
expected = images[:]
child = os.fork()
rows = range(11) if child else reversed(range(11))
good = all((images[row] == expected[row]).all() for row in list(rows) * 20)
if not child:
    os._exit(0 if good else 1)
_, status = os.waitpid(child, 0)
sys.exit(0 if good and status == 0 else 1)
"""


def test_forked_readers_share_a_file_without_disturbing_each_other(studies, folder):
    """In an interpreter of its own: a fork of this one might inherit a held lock."""
    write(studies, folder)
    command = [sys.executable, "-c", FORK, str(folder / "shards")]
    subprocess.run(command, check=True, timeout=120, cwd=ROOT)
