import numpy as np
import pytest
from PIL import Image

from service.bundle.labels import Calibration, Label
from service.bundle.manifest import load
from service.settings import DEMO
from service.studies.line import study_of_json
from training import demo
from training.data.manifest import read_manifest
from training.data.phantom import GLOBAL, LABELS, phantom
from training.recipe import load_recipe

BUNDLE, RADIOGRAPH = DEMO / "bundle", DEMO / "radiograph.png"


@pytest.fixture
def studies(monkeypatch):
    monkeypatch.setattr(demo, "STUDIES", 3)
    return 3


@pytest.fixture
def library(studies, tmp_path):
    demo.make_library(tmp_path / "library")
    assert len(list((tmp_path / "library" / "images").iterdir())) == studies
    return tmp_path / "library"


def test_the_service_accepts_every_line_of_the_library(library):
    lines = (library / "studies.jsonl").read_bytes().splitlines()
    records = [study_of_json(line) for line in lines]
    assert len({record.study_id for record in records}) == 3
    for record in records:
        (image,) = record.images
        with Image.open(library / image) as opened:
            assert (opened.format, opened.mode, opened.size) == ("JPEG", "L", (256, 256))


def test_the_library_holds_the_phantoms_it_names(library):
    for index, study in enumerate(read_manifest(library / "studies.jsonl")):
        drawn = phantom(demo.LIBRARY, index)
        assert (study.study_id, study.report) == (drawn.study.study_id, drawn.study.report)
        assert study.gaze == ()
        pixels = np.asarray(Image.open(library / study.images[0])).astype(int)
        assert np.abs(pixels - drawn.image).mean() < 5


def test_the_pictures_of_the_example_show_one_phantom_and_where_its_reader_looked(tmp_path):
    demo.make_example(tmp_path, 243)
    radiograph = np.asarray(Image.open(tmp_path / "radiograph.png")).astype(int)
    gaze = np.asarray(Image.open(tmp_path / "gaze.png")).astype(int)
    tint = gaze[..., 0] - gaze[..., 2]
    drawn = phantom(demo.LIBRARY, 243)
    assert (radiograph == drawn.image).all()
    assert tint[drawn.lesions.any(axis=0)].mean() > 2 * tint.mean()
    assert (np.abs(gaze[..., 0] - radiograph)[tint == 0] <= 1).all()


@pytest.mark.slow
def test_the_example_in_the_repository_is_the_one_that_the_rule_gives():
    shown = np.asarray(Image.open(RADIOGRAPH))
    assert np.array_equal(shown, phantom(demo.LIBRARY, demo.example_of(load(BUNDLE))).image)


def test_where_no_phantom_is_read_rightly_the_one_whose_findings_stand_out_is_the_example(
    monkeypatch,
):
    monkeypatch.setattr(demo, "_called", lambda score, _: np.zeros(len(score), bool))
    bundle = load(BUNDLE)
    shown = phantom(demo.LIBRARY, demo.example_of(bundle)).study
    assert set(shown.findings) - GLOBAL


def test_findings_stand_out_if_all_of_them_are_more_probable_than_the_others():
    calibration = Calibration(slope=1, offset=0, abstain=(0.5, 0.5))
    labels = {name: Label(present=(name,), calibration=calibration) for name in "ab"}
    labels["never calibrated"] = Label(present=("c",))
    score = np.array([[9, -9, 0], [2, -2, 0], [1, 3, 0], [3, 3, 9]], np.float32)
    there = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0]], bool)
    allowed = np.array([False, True, True, True])
    assert demo._clearest(score, labels, there, allowed) == 3
    assert demo._clearest(score, labels, there, allowed & (score[:, 2] == 0)) == 1


def test_a_finding_in_doubt_is_not_called():
    label = Label(present=("a",), calibration=Calibration(slope=1, offset=0, abstain=(0.3, 0.8)))
    margin = np.array([-2, 0.5, 2], np.float32)  # probabilities .12, .62, .88
    assert demo._called(margin, label).tolist() == [False, False, True]
    assert not demo._called(margin, Label(present=("a",))).any()


def test_the_demo_is_made_from_a_run_and_replaces_what_was_there(
    finished, tiny_recipe, studies, monkeypatch, tmp_path
):
    monkeypatch.setattr("training.evaluate.calibration.LEAST_STUDIES", 1)
    monkeypatch.setattr(demo, "example_of", lambda _: 5)
    for old in ("bundle", "library"):
        (tmp_path / old).mkdir()
        (tmp_path / old / "old").touch()
    bundle = demo.make_demo(tiny_recipe, finished.run, tmp_path)
    assert not list(tmp_path.rglob("old"))
    assert len(list(read_manifest(tmp_path / "library" / "studies.jsonl"))) == studies
    assert load(tmp_path / "bundle").manifest == bundle.manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bundle",
        "gaze.png",
        "library",
        "radiograph.png",
    ]
    assert set(bundle.label_sets.root[demo.LABEL_SET]) == set(LABELS)
    calibrated = [label.calibration for label in bundle.label_sets.root[demo.LABEL_SET].values()]
    assert any(calibrated)
    metrics = bundle.manifest.metrics
    assert {"auroc_present/macro", "auroc_margin/macro"} <= set(metrics)
    assert any(name.startswith("recall@10") for name in metrics)
    assert {"map/text/lesion/pixel_auc", "bleu-4", "linear_probe/100%"} <= set(metrics)
    assert "| auroc_present/macro |" in bundle.model_card
    assert "| text | " in bundle.model_card
    assert Image.open(finished.run / "report" / demo.MAPS).height > 100
    assert bundle.manifest.provenance["recipe"]["data"]["train"] == 96
    assert "synthetic phantoms" in bundle.model_card


def test_a_run_on_real_data_is_no_demo(finished, tmp_path, monkeypatch):
    recipe = load_recipe("own-pairs", [])
    monkeypatch.setattr(demo, "load_run", lambda _: (recipe, finished.clip))
    with pytest.raises(ValueError, match="not trained on phantoms"):
        demo.make_bundle(finished.run, tmp_path / "b")
