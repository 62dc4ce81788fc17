import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from tests.training.evaluate.conftest import has_nodule
from training.evaluate.linear_probe import LEAST_STUDIES, linear_probe, patients_drawn
from training.evaluate.result import NotMeasured


def test_with_every_patient_it_is_scikit_learns_regression(noisy, embedded):
    train, test = embedded(noisy(0), {}), embedded(noisy(1), {})
    value = linear_probe(train, test, ("nodule",)).values["linear_probe/100%"]
    scaler = StandardScaler().fit(train.images)
    model = LogisticRegression(max_iter=1000)
    model.fit(scaler.transform(train.images), has_nodule(train.pairs))
    score = model.decision_function(scaler.transform(test.images))
    assert value.value == pytest.approx(roc_auc_score(has_nodule(test.pairs), score))
    assert (value.sd, value.chance, value.n) == (None, 0.5, 300)
    assert value.low < value.value < value.high


def test_few_patients_are_drawn_several_times(noisy, embedded):
    train, test = embedded(noisy(0), {}), embedded(noisy(1), {})
    values = linear_probe(train, test, ("nodule",)).values
    assert values["linear_probe/10%"].sd > 0
    assert linear_probe(train, test, ("nodule",)).values == values


def test_a_draw_takes_patients_whole():
    patients = [f"p{row // 3}" for row in range(60)]
    rows = patients_drawn(patients, 0.1, 0)
    assert len(rows) == 6
    assert set(rows // 3) == {row // 3 for row in rows}
    assert len(patients_drawn(patients, 0.001, 0)) == 3
    assert not np.array_equal(rows, patients_drawn(patients, 0.1, 1))


def test_labels_that_a_draw_cannot_fit_are_named(noisy, pairs, embedded):
    train = embedded(noisy(0), {})
    rare = [["nodule", "mass"] if row % 7 == 0 else [] for row in range(300)]
    test = embedded(pairs(train.pairs.images[:, 0, :2].astype(int) - 128, rare), {})
    section = linear_probe(train, test, ("nodule", "mass"))
    listed = [note for note in section.notes if note.startswith("linear_probe/100%")]
    assert listed == [
        f"linear_probe/100%: of 1 draws, labels left out for fewer than {LEAST_STUDIES} training "
        "studies with or without them: mass 1"
    ]


def test_without_a_label_to_fit_nothing_is_measured(noisy, embedded):
    with pytest.raises(NotMeasured, match="not measured, as all or none of the studies have it"):
        linear_probe(embedded(noisy(0), {}), embedded(noisy(1), {}), ("mass",))
