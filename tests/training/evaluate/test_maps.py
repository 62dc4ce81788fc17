"""Maps that point where the test says are measured to do so, and others are not."""

from dataclasses import replace

import numpy as np
import pytest

from service.bundle.labels import Label, LabelSets, Prompts
from training.evaluate import maps as module
from training.evaluate.maps import maps, on_input
from training.evaluate.quality import map_quality, quality_on
from training.evaluate.result import NotMeasured, Result

PROMPTS = {"nodule": Prompts(present=("Nodule.",))}
TEXTS = {"Nodule.": (1, 0), "Report.": (1, 0)}
SIDE = 16
STUDIES = 24


@pytest.fixture
def top_left(pairs):
    """Studies whose first quarter alone looks like the text; the marks are on that quarter."""

    def top_left(findings=(("nodule",),) * STUDIES, **options):
        data = pairs([(9, 0)] * len(findings), findings, **options)
        for down, across in ((0, SIDE // 2), (SIDE // 2, 0), (SIDE // 2, SIDE // 2)):
            data.images[:, down, across : across + 2] = (128 - 9, 128)
        marked = np.zeros((len(findings), SIDE, SIDE), np.uint8)
        marked[:, : SIDE // 2, : SIDE // 2] = 255
        return data, marked

    return top_left


def attending(embedded):
    """The studies under an encoder whose attention is all on the quarter that looks like (1, 0)."""
    looked = np.zeros((1, 2, 2), np.float32)
    looked[:, 0, 0] = 1
    encoder = Attending(embedded.encoder, looked)
    return replace(embedded, encoder=encoder)


class Attending:
    """An encoder that has one attention for every image."""

    def __init__(self, encoder, looked):
        self.encoder, self.looked = encoder, looked

    def __getattr__(self, name):
        return getattr(self.encoder, name)

    def maps(self, pixels):
        attention = np.repeat(self.looked, len(pixels), axis=0)
        return self.encoder.maps(pixels)._replace(attention=attention)


def test_a_map_on_the_lesion_points_at_it_and_gains_over_the_centre(top_left, embedded):
    data, marked = top_left()
    section = maps(embedded(replace(data, lesions=marked), TEXTS), PROMPTS)
    values = section.values
    stem = "map/text/lesion"
    assert values[f"{stem}/pointing_game"].value == 1
    assert values[f"{stem}/pointing_game"].n == STUDIES
    assert values[f"{stem}/pixel_auc"].value > 0.95
    assert values[f"{stem}/pixel_auc"].chance == 0.5
    assert values[f"{stem}/pixel_auc/centre_prior"].value == pytest.approx(0.5, abs=0.02)
    assert values[f"{stem}/pixel_auc/gain_over_centre_prior"].low > 0.4
    assert values[f"{stem}/energy_inside"].chance == pytest.approx(0.25)
    assert not any("iou" in name or "mean_gaze" in name for name in values)
    assert section.notes == (
        "no mean-gaze prior, as no training study has gaze",
        "no IoU of the text map at lesion, as no validation study has such a region",
        "no study has a gaze region for the text map",
    )


def test_the_threshold_of_iou_is_chosen_on_validation_studies(top_left, embedded):
    data, marked = top_left()
    studies = embedded(replace(data, lesions=marked), TEXTS)
    values = maps(studies, PROMPTS, validation=studies).values
    assert values["map/text/lesion/iou"].value > 0.8
    assert values["map/text/lesion/iou"].chance == pytest.approx(0.25)
    tiny = np.zeros_like(marked)
    tiny[:, :3, :3] = 255
    other = embedded(replace(data, lesions=tiny), TEXTS)
    section = maps(studies, PROMPTS, validation=other)
    assert section.values["map/text/lesion/iou"].value < 0.3
    marked = "IoU at lesion, share of the image marked: text 3%"
    assert any(note.startswith(marked) for note in section.notes)


def test_where_readers_of_the_training_studies_looked_is_a_prior(top_left, embedded):
    data, marked = top_left()
    studies = embedded(replace(data, lesions=marked), TEXTS)
    train = embedded(replace(data, heatmaps=marked), TEXTS)
    values = maps(studies, PROMPTS, train=train).values
    assert values["map/text/lesion/pixel_auc/mean_gaze_prior"].value == 1


def test_each_map_is_measured_where_it_has_what_it_needs(top_left, embedded):
    data, marked = top_left(reports=["Report."] * 4 + [""] * (STUDIES - 4))
    studies = attending(embedded(replace(data, lesions=marked, heatmaps=marked), TEXTS))
    values = maps(studies, {}).values
    assert values["map/attention/lesion/pointing_game"].n == STUDIES
    assert values["map/attention/gaze/pointing_game"].n == STUDIES
    assert values["map/text/gaze/pointing_game"].n == 4
    assert "map/text/lesion/pointing_game" not in values
    assert "map/text/gaze/pointing_game/gain_over_centre_prior" not in values


def test_the_lesions_of_a_study_with_two_findings_belong_to_neither(top_left, embedded):
    data, marked = top_left([["nodule"], ["nodule"], ["nodule", "mass"], []])
    studies = embedded(replace(data, lesions=marked), TEXTS)
    both = PROMPTS | {"mass": PROMPTS["nodule"]}
    assert maps(studies, both).values["map/text/lesion/pointing_game"].n == 2
    assert maps(attending(studies), {}).values["map/attention/lesion/pointing_game"].n == 2
    assert maps(studies, PROMPTS).values["map/text/lesion/pointing_game"].n == 2


def test_each_image_is_encoded_once(top_left, embedded):
    data, marked = top_left(reports=["Report."] * STUDIES)
    studies = attending(embedded(replace(data, lesions=marked, heatmaps=marked), TEXTS))
    seen = []
    encode = studies.encoder.maps
    studies.encoder.maps = lambda pixels: seen.append(len(pixels)) or encode(pixels)
    maps(studies, PROMPTS)
    assert sum(seen) == STUDIES + 1


def test_without_maps_or_regions_nothing_is_measured(top_left, embedded):
    data, _ = top_left()
    with pytest.raises(NotMeasured, match="no map"):
        maps(embedded(data, TEXTS, has_patches=False), PROMPTS)
    with pytest.raises(NotMeasured, match="no study has a lesion region for the text map"):
        maps(embedded(data, TEXTS), PROMPTS)


def quality(section):
    return map_quality(Result({}, {"maps": section}))


def test_a_bundle_gets_what_its_maps_were_measured_to_be(top_left, embedded):
    data, marked = top_left(reports=["Report."] * STUDIES)
    away = np.roll(marked, SIDE // 2, axis=(1, 2))
    studies = attending(embedded(replace(data, lesions=marked, heatmaps=away), TEXTS))
    found = quality(maps(studies, PROMPTS))
    assert list(found) == ["attention", "text"]
    for each in found.values():
        assert (each.against, each.studies, each.validated) == ("lesion", STUDIES, True)
    without = replace(studies, pairs=replace(studies.pairs, lesions=None))
    found = quality(maps(without, PROMPTS))
    for each in found.values():
        assert (each.against, each.validated) == ("gaze", False)
        assert each.pixel_auc.gain_low < 0
    sets = LabelSets({"mine": {"nodule": Label(present=("Nodule.",))}})
    assert quality_on(studies, sets) == quality(maps(studies, PROMPTS))
    assert quality_on(replace(studies, pairs=data), sets) == {}


def test_a_map_that_points_no_better_than_the_centre_is_not_validated(top_left, embedded):
    """Each quarter has as many lesions as the next, and the map is always on the first."""
    data, marked = top_left()
    marked[::2] = np.roll(marked[::2], SIDE // 2, axis=1)
    marked[:12] = np.roll(marked[:12], SIDE // 2, axis=2)
    found = quality(maps(embedded(replace(data, lesions=marked), TEXTS), PROMPTS))["text"]
    assert found.pointing_game.value == found.pointing_game.centre_prior == 0.25
    assert found.pixel_auc.value == pytest.approx(0.5)
    assert found.pointing_game.gain_low < 0
    assert not found.validated


def test_few_patients_state_no_gain(top_left, embedded):
    data, marked = top_left(patients=["one patient"] * STUDIES)
    section = maps(embedded(replace(data, lesions=marked), TEXTS), PROMPTS)
    assert "no gain of the text map at lesion, as only 1 patients have it" in section.notes
    assert quality(section) == {}


def test_the_figure_shows_the_first_lesion_of_each_finding(top_left, embedded, monkeypatch):
    data, marked = top_left([["nodule"], ["mass"], ["nodule"], ["mass"]], reports=["Report."] * 4)
    prompts = PROMPTS | {"mass": PROMPTS["nodule"]}
    studies = attending(embedded(replace(data, lesions=marked, heatmaps=marked), TEXTS))
    examples = maps(studies, prompts).examples
    assert [example.title for example in examples] == ["nodule", "mass"]
    assert [list(example.maps) for example in examples] == [["attention", "text"]] * 2
    assert (examples[1].image == data.images[1]).all()
    without = replace(studies, pairs=replace(studies.pairs, lesions=None))
    monkeypatch.setattr(module, "EXAMPLES", 3)
    assert [example.title for example in maps(without, prompts).examples] == ["gaze"] * 3


def test_a_map_covers_no_more_of_the_input_than_its_patches():
    """Of an input of 16, three patches of 5 pixels leave one pixel."""
    grid = np.full((3, 3), 2.0, np.float32)
    grid[0, 0] = 1.0
    spread = on_input(grid, 16, 16)
    assert spread.shape == (16, 16)
    np.testing.assert_array_equal(spread[:15, :15], on_input(grid, 15, 15))
    assert set(np.r_[spread[15], spread[:, 15]]) == {spread[:15, :15].min()}
