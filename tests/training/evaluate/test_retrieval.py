import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluate.result import NotMeasured
from training.evaluate.retrieval import image_to_report, precision_at, report_to_image, retrieval


def unit(seed, count, dimension=4):
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def reports_for(texts, seed):
    """Unit vectors that are the same for the same text."""
    of_text = dict(zip(sorted(set(texts)), unit(seed, len(set(texts))), strict=True))
    return np.stack([of_text[text] for text in texts])


def measure(images, reports, texts, groups=None, **arguments):
    return image_to_report(images, reports, texts, groups or list(texts), **arguments)


@given(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=25), st.integers(0, 99))
@settings(max_examples=40)
def test_recall_equals_a_brute_force_search_of_the_distinct_reports(texts, seed):
    images, reports = unit(seed, len(texts)), reports_for(texts, seed + 1)
    distinct = {text: reports[row] for row, text in enumerate(texts)}
    for recall in measure(images, reports, texts, ks=(1, 3)):
        found = 0
        for image, text in zip(images, texts, strict=True):
            nearest = sorted(distinct, key=lambda t: -float(image @ distinct[t]))
            found += text in nearest[: recall.k]
        assert recall.value == pytest.approx(found / len(texts))
        assert recall.chance == pytest.approx(min(1, recall.k / len(distinct)))


def test_a_perfect_embedding_finds_everything():
    texts = [str(number) for number in range(30)]
    vectors = unit(0, 30)
    for recall in measure(vectors, vectors, texts):
        assert (recall.value, recall.low, recall.high) == (1, 1, 1)


def test_any_study_with_the_same_report_is_a_hit():
    """Two patients, one text: neither image can tell their reports apart, nor should it."""
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    (recall,) = measure(vectors, vectors, ["normal", "normal", "mass"], ["a", "b", "c"], ks=(1,))
    assert (recall.value, recall.chance) == (1, 0.5)


def test_a_collapsed_embedding_measures_at_chance():
    texts = [str(number) for number in range(20)]
    same = np.tile(np.float32([1, 0, 0, 0]), (20, 1))
    for recall in measure(same, same, texts):
        assert recall.value == pytest.approx(recall.chance)


@given(st.integers(0, 99))
@settings(max_examples=15)
def test_the_interval_holds_the_value(seed):
    texts = [str(number) for number in range(40)]
    images = unit(seed, 40) + unit(seed + 1, 40)
    for recall in measure(images, unit(seed, 40), texts):
        assert 0 <= recall.low <= recall.value <= recall.high <= 1


def test_the_interval_depends_on_nothing_but_the_seed():
    texts = [str(number) for number in range(40)]
    images, reports = unit(0, 40) + unit(1, 40), unit(0, 40)
    assert measure(images, reports, texts) == measure(images, reports, texts)
    assert measure(images, reports, texts) != measure(images, reports, texts, seed=1)


def test_patients_are_resampled_whole():
    """Twenty patients with five identical studies each vary like twenty, not like a hundred."""
    texts = [str(number) for number in range(20)]
    images, reports = unit(0, 20) + unit(1, 20), unit(0, 20)
    rows = np.repeat(np.arange(20), 5)
    once = measure(images, reports, texts)
    repeated = measure(images[rows], reports[rows], [texts[r] for r in rows])
    apart = measure(images[rows], reports[rows], [texts[r] for r in rows], list(range(100)))
    for one, other in zip(once, repeated, strict=True):
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))
    assert apart[0].high - apart[0].low < 0.7 * (once[0].high - once[0].low)


def test_all_studies_of_one_patient_have_no_interval():
    texts = [str(number) for number in range(10)]
    (recall,) = measure(
        unit(0, 10) + unit(1, 10), unit(0, 10), texts, ["one patient"] * 10, ks=(1,)
    )
    assert (recall.low, recall.high) == pytest.approx((recall.value, recall.value))


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=15), st.integers(0, 99))
@settings(max_examples=40)
def test_a_report_finds_any_image_that_was_filed_with_its_text(texts, seed):
    images, reports = unit(seed, len(texts)), reports_for(texts, seed + 1)
    for recall in report_to_image(images, reports, texts, texts, ks=(1, 3)):
        found = 0
        for report, text in zip(reports, texts, strict=True):
            nearest = np.argsort(-(images @ report))[: recall.k]
            found += any(texts[row] == text for row in nearest)
        assert recall.value == pytest.approx(found / len(texts))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.integers(1, 4))
@settings(max_examples=40)
def test_chance_is_what_a_collapsed_embedding_gets_both_ways(texts, k):
    same = np.tile(np.float32([1, 0]), (len(texts), 1))
    for search in (image_to_report, report_to_image):
        (recall,) = search(same, same, texts, texts, ks=(k,))
        assert recall.value == pytest.approx(recall.chance)


@given(st.integers(0, 99), st.integers(1, 6))
@settings(max_examples=40)
def test_precision_equals_a_brute_force_search(seed, k):
    rng = np.random.default_rng(seed)
    scores, relevant = rng.normal(size=(5, 9)), rng.random((5, 9)) < 0.4
    eligible = rng.random((5, 9)) < 0.7
    for row, share in enumerate(precision_at(scores, relevant, eligible, k)):
        ranked = [at for at in np.argsort(-scores[row]) if eligible[row, at]][:k]
        if len(ranked) < k:
            assert np.isnan(share)
        else:
            assert share == pytest.approx(np.mean([relevant[row, at] for at in ranked]))


def test_entries_that_score_alike_share_their_ranks():
    scores, relevant = np.float64([[2, 1, 1, 1]]), np.array([[True, True, False, False]])
    (share,) = precision_at(scores, relevant, np.ones((1, 4), bool), 2)
    assert share == pytest.approx((1 + 1 / 3) / 2)


def test_scores_that_differ_by_float32s_noise_alone_are_ties():
    texts = ["a", "b"]
    reports = np.float32([[1, 0], [1 - 1e-7, 0]])
    for recall in measure(reports, reports, texts, ks=(1,)):
        assert recall.value == pytest.approx(0.5)


def test_a_patient_is_no_answer_to_itself(pairs, embedded):
    """Each patient's two images coincide; a search that found them would be perfect."""
    vectors = [(9, 1), (9, 1), (1, 9), (1, 9), (9, 9), (9, 9)] * 2
    findings = [["a"], ["a"], ["b"], ["b"], ["c"], ["c"]] * 2
    patients = [f"p{row // 2}" for row in range(6)] * 2
    data = pairs(vectors, findings, patients=patients)
    section = retrieval(embedded(data, {}), ("a", "b", "c"))
    assert section.values["precision@5/image-to-image"].value == 0
    assert section.values["precision@5/image-to-image"].chance == 0
    assert "no recall: no study has a report" in section.notes


def test_class_precision_counts_shared_findings(pairs, embedded):
    vectors = [(9, 1)] * 6 + [(1, 9)] * 6
    data = pairs(vectors, [["a"]] * 6 + [[]] * 6)
    precision = retrieval(embedded(data, {}), ("a",)).values["precision@5/image-to-image"]
    assert (precision.value, precision.n) == (1, 12)
    assert precision.chance == pytest.approx(5 / 11)


def test_studies_without_any_of_the_labels_have_no_class_to_share(pairs, embedded):
    data = pairs([(1, 0)] * 12, [["b"]] * 12, patients=[str(n) for n in range(12)])
    with pytest.raises(NotMeasured, match="no class precision"):
        retrieval(embedded(data, {}), ("a",))


def test_without_reports_and_findings_nothing_is_measured(pairs, embedded):
    with pytest.raises(NotMeasured, match="no class precision"):
        retrieval(embedded(pairs([(1, 0)], [[]]), {}), ())
