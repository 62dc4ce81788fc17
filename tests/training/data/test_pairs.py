from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.bundle.preprocess import ImageSpec, preprocess
from training.data.dataset import open_pairs
from training.data.gaze import Sigma
from training.data.manifest import read_manifest, write_manifest
from training.data.pairs import Pairs
from training.data.phantom import PhantomConfig, phantom
from training.data.reading import ImageUnreadable, read_pair
from training.data.rendering import phantom_indices, phantom_pairs
from training.data.spec import ManifestData, PhantomData
from training.data.splits import LeakageError
from training.data.study import DataError, Gaze, ManifestStudy, write_studies

SPEC = ImageSpec(height=32, width=32)
SPLITS = ("train", "validation", "test")
PHANTOMS = PhantomData(source="phantom", train=5, validation=3, test=4, size=48, seed=11)


def study(number: int, patient: str, **fields: object) -> ManifestStudy:
    values = {"images": (f"{number}.png",), "report": f"Report {number}.", "view": "PA"}
    return ManifestStudy(study_id=str(number), patient_id=patient, source="test", **values | fields)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """40 studies of 20 patients."""
    studies = [study(number, f"patient {number // 2}") for number in range(40)]
    for number in range(40):
        image = Image.new("L", (40, 32), number)
        image.putpixel((39, 0), 255)  # cropped away; the decoder refuses a blank image
        image.save(tmp_path / f"{number}.png")
    write_studies(tmp_path / "studies.jsonl", studies)
    return tmp_path / "studies.jsonl"


def test_phantom_splits_share_no_patient():
    ranges = [phantom_indices(PHANTOMS, split) for split in SPLITS]
    assert [len(indices) for indices in ranges] == [5, 3, 4]
    assert sorted(index for indices in ranges for index in indices) == list(range(12))


def test_manifest_splits_share_no_patient_and_lose_no_study(manifest, tmp_path):
    data = ManifestData(source="manifest", path=manifest, fractions=(0.5, 0.25, 0.25))
    splits = [open_pairs(data, SPEC, tmp_path)(split) for split in SPLITS]
    patients = [{s.patient_id for s in pairs.studies} for pairs in splits]
    assert sum(len(pairs) for pairs in splits) == 40
    assert len(set.union(*patients)) == sum(len(some) for some in patients) == 20


def test_each_image_stays_with_its_report(manifest, tmp_path):
    data = ManifestData(source="manifest", path=manifest, fractions=(1, 0, 0))
    pairs = open_pairs(data, SPEC, tmp_path)("train")
    assert pairs.images.shape == (40, 32, 32)
    assert pairs.reports == [f"Report {level}." for level in pairs.images[:, 0, 0]]


def test_a_split_without_studies_says_so(manifest, tmp_path):
    data = ManifestData(source="manifest", path=manifest, fractions=(1, 0, 0))
    with pytest.raises(DataError, match="no study with an image"):
        open_pairs(data, SPEC, tmp_path)("test")


def test_a_study_without_an_image_is_passed_over(manifest, tmp_path):
    write_studies(manifest, [study(0, "a", images=()), study(1, "b"), study(2, "c", images=())])
    data = ManifestData(source="manifest", path=manifest, fractions=(1, 0, 0))
    assert open_pairs(data, SPEC, tmp_path)("train").reports == ["Report 1."]


def test_a_study_without_a_report_is_no_pair_and_counted(manifest, tmp_path, caplog):
    write_studies(manifest, [study(0, "a", report=""), study(1, "b")])
    data = ManifestData(source="manifest", path=manifest, fractions=(1, 0, 0))
    with caplog.at_level("INFO", "training"):
        assert open_pairs(data, SPEC, tmp_path)("train").reports == ["Report 1."]
    assert "train: 1 studies without an image or a report are left out" in caplog.text


@pytest.mark.parametrize("lacking", [{"report": ""}, {"images": ()}])
def test_a_split_without_a_whole_pair_is_refused_with_the_reason(manifest, tmp_path, lacking):
    write_studies(manifest, [study(0, "a", **lacking)])
    data = ManifestData(source="manifest", path=manifest, fractions=(1, 0, 0))
    with pytest.raises(DataError, match="train split has both an image and a report"):
        open_pairs(data, SPEC, tmp_path)("train")


@pytest.mark.usefixtures("manifest")
def test_training_reads_images_wherever_the_manifest_says(tmp_path):
    """Nothing of them is stored, so a manifest may lie beside its images' folder."""
    path = tmp_path / "manifests" / "studies.jsonl"
    path.parent.mkdir()
    write_studies(
        path, [study(n, "a", images=(f"{at}/{n}.png",)) for n, at in ((0, ".."), (1, tmp_path))]
    )
    data = ManifestData(source="manifest", path=path, fractions=(1, 0, 0))
    assert len(open_pairs(data, SPEC, tmp_path)("train")) == 2


@pytest.mark.usefixtures("manifest")
def test_an_image_that_cannot_be_a_path_is_named(tmp_path):
    write_studies(tmp_path / "studies.jsonl", [study(0, "a", images=("0.png\0",))])
    data = ManifestData(source="manifest", path=tmp_path / "studies.jsonl", fractions=(1, 0, 0))
    with pytest.raises(ImageUnreadable, match="character that paths cannot have"):
        open_pairs(data, SPEC, tmp_path)("train")


def test_a_parquet_manifest_gives_the_same_pairs(manifest, tmp_path):
    write_manifest(tmp_path / "studies.parquet", read_manifest(manifest))
    lines, parquet = (
        open_pairs(ManifestData(source="manifest", path=path), SPEC, tmp_path)("test")
        for path in (manifest, tmp_path / "studies.parquet")
    )
    assert parquet.studies == lines.studies
    np.testing.assert_array_equal(parquet.images, lines.images)


def test_a_leak_between_the_splits_stops_the_reading(manifest, tmp_path):
    write_studies(manifest, [study(0, "a", split="train"), study(1, "a", split="test")])
    data = ManifestData(source="manifest", path=manifest)
    with pytest.raises(LeakageError, match="share 1 patients"):
        open_pairs(data, SPEC, tmp_path)("train")


def test_gaze_lies_where_it_was_on_an_image_that_is_shrunk_while_decoded(tmp_path):
    pixels = phantom(PhantomConfig(size=48, seed=11), 0).image
    Image.fromarray(pixels).resize((1000, 800)).save(tmp_path / "0.jpg", quality=95)
    gaze = Gaze(x=(0.2, 0.7), y=(0.4, 0.9), duration=(1.0, 2.0))
    looked = study(0, "a", images=("0.jpg",), gaze=(gaze,))
    sigma = Sigma(4.0, "pixel")
    exact = read_pair(tmp_path, looked, SPEC, sigma)
    fast = read_pair(tmp_path, looked, SPEC.model_copy(update={"reducing_gap": 2}), sigma)
    np.testing.assert_array_equal(fast.heatmap, exact.heatmap)
    assert np.abs(fast.image.astype(int) - exact.image).max() <= 6
    assert (fast.image != exact.image).any()


@pytest.mark.parametrize("few", [0, 3])
def test_rendered_pairs_are_the_phantoms_through_preprocess(monkeypatch, few):
    """By other processes, and here, where no pool is to be had."""
    monkeypatch.setattr("training.data.rendering.FEW", few)
    if few:
        monkeypatch.setattr("training.data.rendering.process_pool", None)
    config = PhantomConfig(size=48, seed=11)
    pairs = phantom_pairs(config, range(3, 6), SPEC)
    for index, image, record in zip(range(3, 6), pairs.images, pairs.studies, strict=True):
        drawn = phantom(config, index)
        np.testing.assert_array_equal(image, preprocess(drawn.image, SPEC))
        assert record == drawn.study


def test_phantoms_are_rendered_once_and_kept(tmp_path, monkeypatch):
    first = open_pairs(PHANTOMS, SPEC, tmp_path)("validation")
    monkeypatch.setattr("training.data.rendering.phantom_pairs", None)
    again = open_pairs(PHANTOMS, SPEC, tmp_path)("validation")
    np.testing.assert_array_equal(first.images, again.images)
    assert first.studies == again.studies


def test_runs_share_only_phantoms_that_are_the_same(tmp_path):
    shared = PHANTOMS.model_copy(update={"cache": tmp_path / "shared"})
    own = open_pairs(shared, SPEC, tmp_path / "run")("validation")
    faint = shared.model_copy(update={"contrast": 0.5})
    other = open_pairs(faint, SPEC, tmp_path / "run")("validation")
    assert (own.images != other.images).any()
    again = open_pairs(shared, SPEC, tmp_path / "another run")("validation")
    np.testing.assert_array_equal(again.images, own.images)
    measured = shared.model_copy(update={"reader": "measured"})
    other = open_pairs(measured, SPEC, tmp_path / "run")("validation")
    assert [one.gaze for one in own.studies] != [one.gaze for one in other.studies]
    assert len(list((tmp_path / "shared").iterdir())) == 3


def test_padding_is_no_lesion():
    padded = ImageSpec(height=32, width=64, fit="longest", fill=255)
    pairs = phantom_pairs(PhantomConfig(size=48, seed=11), range(6), padded, Sigma(2, "pixel"))
    assert pairs.lesions.any()
    assert not pairs.lesions[:, :, :16].any()
    assert not pairs.lesions[:, :, 48:].any()


def test_pairs_survive_a_save(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8)).astype(np.uint8)
    pairs = Pairs(images, (study(0, "a", findings=("nodule",)), study(1, "ä")))
    pairs.save(tmp_path / "kept")
    again = Pairs.load(tmp_path / "kept")
    np.testing.assert_array_equal(again.images, images)
    assert again.images.dtype == np.uint8
    assert again.studies == pairs.studies
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_save_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("training.data.pairs.write_studies", full)
    with pytest.raises(OSError, match="disk full"):
        Pairs(np.zeros((1, 8, 8), np.uint8), (study(0, "a"),)).save(tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []
