import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.data.gaze import Sigma, heatmap
from training.data.phantom import (
    GLOBAL,
    LABELS,
    PROMPTS,
    SHORTCUT_LABEL,
    PhantomConfig,
    PhantomFinding,
    fingerprint,
    phantom,
)
from training.data.phantom.canvas import Pose
from training.data.phantom.gaze import draw_gaze
from training.data.phantom.scanpath import draw_scanpath

pytestmark = pytest.mark.slow

CONFIG = PhantomConfig(size=64, seed=7)
GOLDEN = "e018b7c567a2aa2deb8771e32befea83ce9ec169d2d482583185d5fa344bb41f"
MEASURED = "bad0f04c7be516e8dc7b41b68aff0524ad19230893051cc5f1cc60c77c5a64f9"
NAMES = {
    "atelectasis": "atelectasis",
    "cardiomegaly": "cardiomegaly",
    "consolidation": "consolidation",
    "fibrosis": "fibrosis",
    "nodule": "nodule",
    "pleural effusion": "effusion",
    "pneumothorax": "pneumothorax",
    "pulmonary edema": "edema",
}


@pytest.fixture(scope="module")
def phantoms():
    return [phantom(CONFIG, index) for index in range(400)]


def coarse(image, blocks=16):
    side = len(image) // blocks
    return image.reshape(blocks, side, blocks, side).mean(axis=(1, 3))


def mentions(report):
    """Labels that a report affirms and labels that it denies, sentence by sentence."""
    affirmed, denied = set(), set()
    for sentence in re.split(r"(?<=\.) ", report.lower()):
        negative = re.search(r"\bno\b", sentence) is not None
        named = {label for label, name in NAMES.items() if name in sentence}
        (denied if negative else affirmed).update(named)
    return affirmed, denied


def test_the_phantom_is_frozen():
    assert fingerprint(PhantomConfig(size=64, seed=0)) == GOLDEN
    assert fingerprint(PhantomConfig(size=64, seed=0, reader="measured")) == MEASURED


def test_another_reader_changes_the_gaze_alone():
    for index in range(3):
        one, other = (phantom(replace(CONFIG, reader=r), index) for r in ("simulated", "measured"))
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.lesions, other.lesions)
        assert one.gaze != other.gaze
        assert replace(one.study, gaze=other.study.gaze) == other.study


def test_both_readers_look_at_a_finding_for_most_of_the_time():
    """One reading in seven goes astray, so that less than the share of .6 to .75 is near it."""
    rng = np.random.default_rng(5)
    finding = PhantomFinding("nodule", "mild", "right upper", -0.2, 0.3, 0.06, 0.06)
    pose = Pose(np.eye(2), np.array([0.5, 0.5]))
    for draw in (draw_gaze, draw_scanpath):
        shares = []
        for _ in range(300):
            gaze = draw(rng, (finding,), pose)
            away = np.hypot(np.array(gaze.x) - 0.3, np.array(gaze.y) - 0.3)
            shares.append(np.average(away < 0.2, weights=gaze.duration))
        assert 0.55 < np.mean(shares) < 0.72


def test_a_patient_depends_on_the_seed_and_its_index_alone(phantoms):
    again = phantom(CONFIG, 5)
    np.testing.assert_array_equal(again.image, phantoms[5].image)
    np.testing.assert_array_equal(again.lesions, phantoms[5].lesions)
    assert again.study == phantoms[5].study
    other = phantom(replace(CONFIG, seed=8), 5)
    assert not np.array_equal(other.image, again.image)
    assert not np.array_equal(phantoms[6].image, again.image)


def test_a_patient_looks_the_same_at_every_size():
    for index in range(12):
        small, large = (phantom(replace(CONFIG, size=size), index) for size in (64, 256))
        assert small.study == large.study
        pair = np.stack([coarse(small.image).ravel(), coarse(large.image).ravel()])
        assert np.corrcoef(pair)[0, 1] > 0.995
        assert np.abs(pair[0] - pair[1]).mean() < 4.0
        areas = [one.lesions.mean(axis=(1, 2)) for one in (small, large)]
        np.testing.assert_allclose(*areas, atol=0.006)


def test_the_lungs_are_darker_than_the_heart_and_lighter_than_the_air_outside(phantoms):
    clear = [one.image for one in phantoms if not one.findings]
    mean = np.mean(clear, axis=0)
    right_lung, left_lung = mean[22:30, 16:22].mean(), mean[22:30, 44:50].mean()
    heart, air = mean[38:42, 33:38].mean(), mean[:4, :4].mean()
    assert air < 20 < right_lung < heart - 40
    assert left_lung < heart - 40
    assert mean[38:44, 38:44].mean() > mean[38:44, 20:26].mean() + 20


def test_exposure_and_pose_vary_between_patients(phantoms):
    assert np.std([one.image.mean() for one in phantoms]) > 4.0
    assert np.mean([np.mean(one.image == 255) for one in phantoms]) < 0.02


def test_a_third_of_the_studies_is_normal_and_no_label_is_rare(phantoms):
    normal = np.mean([not one.findings for one in phantoms])
    assert normal == pytest.approx(0.3, abs=0.07)
    for label in LABELS:
        prevalence = np.mean([label in one.study.findings for one in phantoms])
        assert 0.09 < prevalence < 0.25, label


def test_findings_number_one_to_three_in_distinct_zones(phantoms):
    for one in phantoms:
        zones = [finding.zone for finding in one.local_findings]
        assert len(one.findings) <= 3
        assert len(set(one.study.findings)) == len(one.findings)
        assert len(set(zones)) == len(zones)
        assert {f.label for f in one.findings if f.zone is None} <= GLOBAL


def test_a_zone_is_named_from_the_patients_side(phantoms):
    columns = np.arange(64)
    for one in phantoms:
        for finding, mask in zip(one.local_findings, one.lesions, strict=True):
            centre = np.average(columns, weights=mask.sum(axis=0))
            assert (centre < 32) == finding.zone.startswith("right")


def test_lesions_are_small(phantoms):
    areas = {label: [] for label in LABELS if label not in GLOBAL}
    for one in phantoms:
        for finding, mask in zip(one.local_findings, one.lesions, strict=True):
            areas[finding.label].append(mask.mean())
    for label, values in areas.items():
        assert min(values) > 0.004, label
        assert max(values) < 0.09, label
        assert (0.01 if label == "nodule" else 0.02) < np.mean(values) < 0.06, label


def test_each_local_finding_changes_the_pixels_under_its_mask():
    for index in range(60):
        seen = phantom(CONFIG, index)
        faint = phantom(replace(CONFIG, contrast=0.0), index)
        change = np.abs(seen.image.astype(float) - faint.image)
        for finding, mask in zip(seen.local_findings, seen.lesions, strict=True):
            assert change[mask].mean() > 6.0, (index, finding.label)
        if seen.local_findings:
            assert change[~seen.lesions.any(axis=0)].mean() < 3.0


def test_cardiomegaly_widens_the_heart(phantoms):
    def width(one):
        row = one.image[40:43].mean(axis=0)
        return np.mean(row[20:52] > 0.5 * (row.min() + row[30:36].max()))

    large = [width(one) for one in phantoms if one.study.findings == ("cardiomegaly",)]
    clear = [width(one) for one in phantoms if not one.findings]
    assert np.mean(large) > 1.15 * np.mean(clear)


def test_a_report_affirms_exactly_its_findings_and_denies_none_of_them(phantoms):
    for one in phantoms:
        affirmed, denied = mentions(one.study.report)
        assert affirmed == set(one.study.findings)
        assert denied
        assert not denied & set(one.study.findings)


def test_a_report_names_the_zone_and_degree_of_each_finding(phantoms):
    degrees = re.compile("mild|moderate|severe|small|medium-sized|large")
    for one in phantoms:
        impression = one.study.report.lower().partition("impression:")[2]
        assert len(degrees.findall(impression)) == len(one.findings)
        for finding in one.local_findings:
            assert finding.zone.split()[0] in impression


def test_a_report_has_both_sections_and_three_to_eight_sentences(phantoms):
    for one in phantoms:
        assert re.fullmatch(r"FINDINGS: .+ IMPRESSION: .+\.", one.study.report)
        assert 3 <= one.study.report.count(".") <= 8
        assert not re.search(r"[{}]|  ", one.study.report)


def test_reports_vary(phantoms):
    assert len({one.study.report for one in phantoms}) > 0.95 * len(phantoms)


def test_gaze_finds_lesions_without_being_a_mask():
    """AUC of the heatmap against the lesions, over phantoms that have any."""
    scores = []
    for index in range(70):
        one = phantom(CONFIG, index)
        if len(one.lesions):
            lesion = one.lesions.any(axis=0).ravel()
            looked = heatmap(one.study.gaze, 64, 64, Sigma(3.2, "pixel"))
            scores.append(roc_auc_score(lesion, looked.ravel()))
    assert len(scores) > 30
    assert 0.8 < np.mean(scores) < 0.9
    assert min(scores) < 0.8


def test_half_to_two_thirds_of_the_dwell_is_near_a_lone_finding(phantoms):
    """Within a lesion's reach of it, and far less there on normal studies."""
    rows, columns = (np.indices((64, 64)) + 0.5) / 64

    def dwell_near(mask, gaze):
        x, y = np.asarray(gaze.x), np.asarray(gaze.y)
        gaps = np.hypot(columns[mask][:, None] - x, rows[mask][:, None] - y).min(axis=0)
        return np.average(gaps < 0.06, weights=gaze.duration)

    alone = [one for one in phantoms if len(one.findings) == len(one.lesions) == 1]
    normal = [one for one in phantoms if not one.findings]
    near = np.mean([dwell_near(one.lesions[0], one.gaze) for one in alone])
    chance = np.mean(
        [dwell_near(one.lesions[0], other.gaze) for one, other in zip(alone, normal, strict=False)]
    )
    assert 0.5 < near < 0.7
    assert chance < 0.3


def test_fixations_last_as_long_as_fixations_do(phantoms):
    durations = np.concatenate([one.gaze.duration for one in phantoms])
    assert 150 < np.median(durations) < 600
    assert all((one.gaze,) == one.study.gaze for one in phantoms)


def test_distractors_are_drawn_and_never_reported():
    without = replace(CONFIG, distractors=0.0)
    every = replace(CONFIG, distractors=1.0)
    for index in range(10):
        clean, busy = phantom(without, index), phantom(every, index)
        assert clean.study.metadata["distractors"] == ""
        assert len(busy.study.metadata["distractors"].split(", ")) == 6
        assert busy.study.report == clean.study.report
        assert np.mean(np.abs(busy.image.astype(int) - clean.image) > 8) > 0.02


@pytest.mark.parametrize("agreement", [0.0, 0.5, 1.0])
def test_the_corner_marker_agrees_with_its_label_as_often_as_told(agreement):
    config = replace(CONFIG, shortcut=agreement)
    agrees = []
    for index in range(80):
        one = phantom(config, index)
        present = SHORTCUT_LABEL in one.study.findings
        agrees.append(one.study.metadata["shortcut"] == present)
    assert np.mean(agrees) == pytest.approx(agreement, abs=0.17)


def test_the_corner_marker_is_the_only_trace_of_the_shortcut():
    for index in range(10):
        plain = phantom(CONFIG, index)
        marked = phantom(
            replace(CONFIG, shortcut=1.0 * (SHORTCUT_LABEL in plain.study.findings)), index
        )
        assert not plain.study.metadata["shortcut"]
        assert marked.study.metadata["shortcut"]
        assert marked.image[60, 3] > plain.image[60, 3] + 60
        np.testing.assert_array_equal(marked.image[:, 8:], plain.image[:, 8:])


def test_prompts_affirm_or_deny_their_own_label_alone():
    assert tuple(PROMPTS) == LABELS
    for label, prompts in PROMPTS.items():
        assert len(prompts["present"]) >= 4
        assert len(prompts["absent"]) >= 4
        for prompt in prompts["present"]:
            assert mentions(prompt) == ({label}, set())
        for prompt in prompts["absent"]:
            assert mentions(prompt) == (set(), {label})
