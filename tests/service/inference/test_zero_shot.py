import math
from dataclasses import replace

import numpy as np
import pytest

from service.bundle.labels import Calibration, Label, Prompts
from service.errors import LabelsEmpty, LabelsInvalid
from service.inference.zero_shot import MAX_LABELS, Classifier
from tests.service.inference.conftest import open_encoder

PRESENT, ABSENT = ("There is an effusion.", "Effusion is seen."), ("No effusion.",)


@pytest.fixture
def vector(encoder, radiograph, deadline):
    return encoder.image(radiograph, deadline).vector


def ensemble(encoder, prompts, deadline):
    mean = encoder.text_matrix(prompts, deadline).mean(axis=0)
    return mean / np.linalg.norm(mean)


@pytest.fixture
def margin(encoder, vector, deadline):
    present, absent = (ensemble(encoder, prompts, deadline) for prompts in (PRESENT, ABSENT))
    return float(present @ vector - absent @ vector)


def verdict(label, encoder, vector, deadline):
    (finding,) = Classifier({"effusion": label}, encoder, deadline)(vector)
    return finding


def test_without_calibration_the_probability_is_the_softmax_of_the_prompts(
    encoder, vector, margin, deadline
):
    finding = verdict(Prompts(present=PRESENT, absent=ABSENT), encoder, vector, deadline)
    scale = encoder.bundle.manifest.logit_scale
    assert finding.probability == pytest.approx(1 / (1 + math.exp(-scale * margin)), abs=1e-5)
    assert not finding.calibrated
    assert not finding.abstained


def test_calibration_is_platts_sigmoid_with_a_band_of_doubt(encoder, vector, margin, deadline):
    slope, offset = 2.0, 0.5
    expected = 1 / (1 + math.exp(-(slope * margin + offset)))
    for band, abstained in (((0.0, 1.0), True), ((expected, expected), False)):
        calibration = Calibration(slope=slope, offset=offset, abstain=band)
        label = Label(present=PRESENT, absent=ABSENT, calibration=calibration)
        finding = verdict(label, encoder, vector, deadline)
        assert finding.probability == pytest.approx(expected, abs=1e-5)
        assert finding.calibrated
        assert finding.abstained is abstained


def test_without_absent_prompts_there_is_no_probability(encoder, vector, deadline):
    finding = verdict(Prompts(present=PRESENT), encoder, vector, deadline)
    expected = float(ensemble(encoder, PRESENT, deadline) @ vector)
    assert finding.probability is None
    assert finding.similarity == pytest.approx(expected, abs=1e-5)


def test_a_bundle_of_sigmoid_needs_no_absent_prompts(encoder, vector, deadline):
    manifest = encoder.bundle.manifest
    changes = {"scoring": "sigmoid", "logit_bias": -2.0}
    learned = replace(encoder.bundle, manifest=manifest.model_copy(update=changes))
    with open_encoder(learned, cache_items=0) as sigmoid:
        similarity = float(ensemble(sigmoid, PRESENT, deadline) @ vector)
        expected = 1 / (1 + math.exp(2 - manifest.logit_scale * similarity))
        for absent in ((), ABSENT):
            finding = verdict(Prompts(present=PRESENT, absent=absent), sigmoid, vector, deadline)
            assert finding.probability == pytest.approx(expected, abs=1e-5)
            assert finding.similarity == pytest.approx(similarity, abs=1e-6)


def test_label_sets_out_of_bounds_are_refused(encoder, deadline):
    with pytest.raises(LabelsEmpty):
        Classifier({}, encoder, deadline)
    many = {str(index): Prompts(present=("a",)) for index in range(MAX_LABELS + 1)}
    with pytest.raises(LabelsInvalid, match=str(MAX_LABELS)):
        Classifier(many, encoder, deadline)
