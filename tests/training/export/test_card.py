import pytest
import yaml

from service.bundle.labels import LabelSets
from service.bundle.manifest import load
from service.bundle.maps import MapQuality, Measured
from service.settings import DEMO_BUNDLE
from training.export.card import model_card

SECTIONS = [
    "Intended use", "Out of scope", "Data", "Bias and limits", "Measured",
    "Maps of an image", "Images that are no chest radiographs", "How it was made",
]  # fmt: skip


@pytest.fixture
def manifest():
    return load(DEMO_BUNDLE).manifest


def card(manifest, **changes):
    return model_card(manifest.model_copy(update=changes), LabelSets({}))


def front_matter(text):
    _, head, _ = text.split("---\n", 2)
    return yaml.safe_load(head)


def test_the_hub_can_read_the_front_matter(manifest):
    metrics = {"auroc_present/macro": 0.8, "recall@5/image-to-report": 0.3, "modality_gap": 0.2}
    facts = front_matter(card(manifest, metrics=metrics, provenance={}))
    assert facts["pipeline_tag"] == "zero-shot-image-classification"
    assert (facts["library_name"], facts["license"]) == ("onnx", "unknown")
    assert facts["metrics"] == ["recall", "roc_auc"]
    assert {"radiology", "clip"} <= set(facts["tags"])


def test_a_validation_value_is_its_measures_metric(manifest):
    assert front_matter(card(manifest, metrics={"validation/recall@5": 0.1}))["metrics"] == [
        "recall"
    ]


def test_without_measures_there_are_no_metrics(manifest):
    text = card(manifest, metrics={})
    assert "metrics" not in front_matter(text)
    assert "Nothing was measured at export." in text


def test_every_section_is_there_in_order(manifest):
    lines = card(manifest).splitlines()
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == SECTIONS


def test_a_bundle_of_images_alone_scores_nothing(manifest):
    assert "| scoring | none |" in card(manifest, has_text=False)
    assert "| scoring | softmax" in card(manifest)


@pytest.mark.parametrize(
    ("provenance", "says"),
    [
        ({"data": "synthetic phantoms: no patient"}, "synthetic phantoms: no patient."),
        ({"recipe": {"data": {"source": "phantom", "train": 96}}}, "96 synthetic phantoms"),
        ({"recipe": {"data": {"source": "manifest", "path": "a.parquet"}}}, "of `a.parquet`"),
        (
            {"open_clip_model": "ViT-B-32", "pretrained": "openai"},
            "the weights `openai` of `ViT-B-32`; see their own card",
        ),
        (
            {"open_clip_model": "biomedclip", "pretrained": None},
            "The model is open_clip's `biomedclip`",
        ),
    ],
)
def test_it_says_what_the_model_was_trained_on(manifest, provenance, says):
    text = card(manifest, provenance=provenance)
    assert says in text[text.index("## Data") : text.index("## Bias")]


def test_the_card_says_how_labels_are_scored(manifest):
    assert "| scoring | softmax of present against absent prompts |" in card(manifest)
    assert "| scoring | sigmoid of the similarity" in card(manifest, scoring="sigmoid")


def test_the_card_says_what_the_gate_refuses_and_that_it_only_warns_where_it_is_bad(manifest):
    gate = load(DEMO_BUNDLE).gate
    written = model_card(manifest, LabelSets({}), gate=gate)
    assert "| upside down | 1.000 |" in written
    assert "only warns" not in written
    bad = gate.model_copy(update={"detected": {"noise": 0.1}})
    assert "only warns" in model_card(manifest, LabelSets({}), gate=bad)
    assert "has no gate" in card(manifest)


def test_the_card_says_which_maps_may_be_shown(manifest):
    beats = Measured(value=0.7, low=0.6, high=0.8, centre_prior=0.1, gain_low=0.4)
    fails = beats.model_copy(update={"gain_low": -0.1})
    quality = MapQuality(against="lesion", studies=9, pointing_game=beats, pixel_auc=beats)
    both = {"attention": quality, "text": quality.model_copy(update={"pixel_auc": fails})}
    text = card(manifest, has_attention=True, patches="value_path", map_quality=both)
    row = "lesion | 9 | 0.700 (0.600 – 0.800), centre 0.100 | 0.700 (0.600 – 0.800), centre 0.100"
    assert f"| attention | {row} | yes |" in text
    assert f"| text | {row} | no |" in text
    assert "| text | never measured |  |  |  | no |" in card(manifest, map_quality={})
    none = card(manifest, has_attention=False, patches=None, patch_grid=None)
    assert "yields no map" in none
