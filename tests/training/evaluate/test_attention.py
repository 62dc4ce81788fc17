import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from service.bundle.labels import Prompts
from training.evaluate.attention import attention, centre_prior, pointing
from training.evaluate.result import NotMeasured

PROMPTS = {"nodule": Prompts(present=("Nodule.",))}
TEXTS = {"Nodule.": (1, 0), "Report.": (1, 0)}
SIDE = 16


@pytest.fixture
def top_left(pairs):
    """Four studies whose first quarter alone looks like the text; the maps mark that quarter."""
    data = pairs(
        [(9, 0)] * 4, [["nodule"], ["nodule"], ["nodule", "mass"], []], reports=["Report."] * 4
    )
    for down, across in ((0, SIDE // 2), (SIDE // 2, 0), (SIDE // 2, SIDE // 2)):
        data.images[:, down, across : across + 2] = (128 - 9, 128)
    marked = np.zeros((4, SIDE, SIDE), np.uint8)
    marked[:3, : SIDE // 2, : SIDE // 2] = 255
    return data, marked


def with_maps(data, **maps):
    return type(data)(data.images, data.studies, **maps)


def test_a_map_on_the_lesion_points_at_it(top_left, embedded):
    data, marked = top_left
    values = attention(embedded(with_maps(data, lesions=marked), TEXTS), PROMPTS).values
    assert values["attention/lesion/pointing_game"].value == 1
    assert values["attention/lesion/pixel_auc"].value > 0.95
    assert values["attention/lesion/energy_inside"].value > 0.5
    assert values["attention/lesion/pointing_game"].n == 3
    assert values["attention/lesion/pixel_auc"].chance == 0.5
    assert values["attention/lesion/energy_inside"].chance == pytest.approx(0.25)
    assert values["attention/lesion/pixel_auc/centre_prior"].value == pytest.approx(0.5, abs=0.02)


def test_the_lesions_of_a_study_with_two_labels_belong_to_neither(top_left, embedded):
    data, marked = top_left
    both = PROMPTS | {"mass": PROMPTS["nodule"]}
    values = attention(embedded(with_maps(data, lesions=marked), TEXTS), both).values
    assert values["attention/lesion/pointing_game"].n == 2


def test_gaze_is_pointed_at_by_the_report(top_left, embedded):
    data, marked = top_left
    section = attention(embedded(with_maps(data, heatmaps=marked), TEXTS), {})
    assert section.values["attention/gaze/pointing_game"].value == 1
    assert section.values["attention/gaze/pointing_game"].n == 3
    assert section.notes == ("no study has a lesion region and a text to point at it",)


def test_without_patches_or_regions_nothing_is_measured(top_left, embedded):
    data, _ = top_left
    with pytest.raises(NotMeasured, match="no patches"):
        attention(embedded(data, TEXTS, has_patches=False), PROMPTS)
    with pytest.raises(NotMeasured, match="no study has a lesion region"):
        attention(embedded(data, TEXTS), PROMPTS)


@given(st.integers(0, 200))
@settings(max_examples=40)
def test_pointing_equals_its_definitions(seed):
    rng = np.random.default_rng(seed)
    heat, inside = rng.normal(size=(6, 7)), rng.random((6, 7)) < 0.3
    inside[0, :2] = True, False
    found = pointing(heat, inside)
    above = heat - heat.min()
    assert found.pointing_game == inside.ravel()[heat.argmax()]
    assert found.pixel_auc == pytest.approx(roc_auc_score(inside.ravel(), heat.ravel()))
    assert found.energy_inside == pytest.approx((above * inside).sum() / above.sum())


def test_a_map_that_is_the_same_everywhere_is_at_chance():
    inside = np.arange(24).reshape(4, 6) < 6
    assert pointing(np.ones((4, 6)), inside) == (0.25, 0.5, 0.25)


def test_the_prior_is_in_the_middle():
    prior = centre_prior(9, 11)
    assert np.unravel_index(prior.argmax(), prior.shape) == (4, 5)
    np.testing.assert_allclose(prior, prior[::-1, ::-1])
