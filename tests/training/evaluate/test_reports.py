import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import constants

from training.evaluate import clinical
from training.evaluate.clinical import clinical_scores
from training.evaluate.radgraph import radgraph_scores
from training.evaluate.reports import bleu, reports, rouge_l
from training.evaluate.result import NotMeasured

TEXTS = {"clear lungs .": (1, 0), "left effusion .": (0, 1), "large mass .": (-1, 0)}


def test_bleu_is_the_share_of_shared_words_under_the_brevity_penalty():
    assert bleu(["The lungs are clear."], ["the lungs are clear ."], 4) == pytest.approx(1)
    assert bleu(["a b x"], ["a b c"], 1) == pytest.approx(2 / 3)
    assert bleu(["a b x"], ["a b c"], 2) == pytest.approx(np.sqrt(2 / 3 * 1 / 2))
    assert bleu(["a b"], ["a b c d"], 1) == pytest.approx(np.exp(1 - 4 / 2))


def test_rouge_l_is_the_f_of_the_longest_common_subsequence():
    """a c of `a b c` and of `a x c d`: precision 2/3, recall 2/4."""
    precision, recall = 2 / 3, 2 / 4
    f = 2 * precision * recall / (precision + recall)
    assert rouge_l(["a b c", "none"], ["a x c d", "other"]).tolist() == pytest.approx([f, 0])


def test_the_nearest_training_report_is_scored_beside_a_random_one(pairs, embedded):
    library = pairs([(1, 0)] * 3, [[]] * 3, reports=list(TEXTS), patients=["x", "y", "z"])
    asked = pairs([(9, 1), (1, 9), (-9, 1)], [[]] * 3, reports=list(TEXTS))
    section = reports(embedded(library, TEXTS), embedded(asked, TEXTS))
    assert section.values["bleu-1"].value == pytest.approx(1)
    assert section.values["rouge-l"].value == pytest.approx(1)
    assert section.values["rouge-l"].chance < 1
    assert section.notes == (
        "not measured: bertscore, f1chexbert, radgraph (radeval is not installed)",
    )


def test_a_patients_own_reports_are_not_retrieved(pairs, embedded):
    library = pairs([(1, 0)] * 2, [[]] * 2, reports=list(TEXTS)[:2], patients=["me", "other"])
    asked = pairs([(9, 1)], [[]], reports=["clear lungs ."], patients=["me"])
    assert reports(embedded(library, TEXTS), embedded(asked, TEXTS)).values["rouge-l"].value == 0
    mine = pairs([(1, 0)], [[]], reports=["clear lungs ."], patients=["me"])
    with pytest.raises(NotMeasured, match="the patient's own"):
        reports(embedded(mine, TEXTS), embedded(asked, TEXTS))


def test_studies_without_reports_have_no_text_scores(pairs, embedded):
    none = embedded(pairs([(1, 0)], [[]]), {})
    with pytest.raises(NotMeasured, match="must have reports"):
        reports(none, none)


ENTITIES = {"left", "right", "effusion", "lungs", "clear", "pneumothorax"}


def f1_of_entities(text, reference):
    """RadEval's simple level: entities are compared with their case; 0 where neither has any."""
    ours, theirs = ({w for w in t.split() if w.lower() in ENTITIES} for t in (text, reference))
    return 2 * len(ours & theirs) / (len(ours) + len(theirs)) if ours or theirs else 0.0


@pytest.fixture
def radeval(monkeypatch):
    """A stand-in with RadEval's interface: one metric counts, another has no weights here."""

    class RadEval:
        def __init__(self, metrics, show_progress, per_sample=False):
            assert constants.HF_HUB_OFFLINE
            (self.metric,) = metrics
            self.per_sample = per_sample
            assert not show_progress
            if self.metric == "bertscore":
                raise Exception("Cannot download the file to /home/someone/.cache")

        def __call__(self, refs, hyps):
            if self.metric == "radgraph":
                assert self.per_sample
                return {"radgraph_simple": list(map(f1_of_entities, hyps, refs))}
            return {self.metric: sum(r == h for r, h in zip(refs, hyps, strict=True)) / len(refs)}

    monkeypatch.setattr(clinical, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.setitem(sys.modules, "radeval", SimpleNamespace(RadEval=RadEval))


@pytest.mark.usefixtures("radeval")
def test_clinical_scores_run_offline_and_what_lacks_weights_is_named():
    values, notes = clinical_scores(["clear", "b"], ["clear", "x"], ["clear", "b"])
    assert {name: (one.value, one.chance, one.n) for name, one in values.items()} == {
        "f1chexbert": (1, 0.5, 2),
        "radgraph_simple": (1, 1, 1),
    }
    assert notes[0] == "not measured: bertscore (Exception)"
    assert not constants.HF_HUB_OFFLINE


def radgraph(retrieved, true, blind=None):
    values, notes = radgraph_scores(
        lambda refs, hyps: {"radgraph_simple": list(map(f1_of_entities, hyps, refs))},
        retrieved,
        blind or true,
        true,
    )
    return values.get("radgraph_simple"), notes


@pytest.mark.parametrize(
    ("retrieved", "true", "f1"),
    [
        ("Left effusion", "left Effusion", 1.0),
        ("LEFT EFFUSION", "left effusion", 1.0),
        ("Right effusion", "left effusion", 0.5),
        ("Lungs clear", "left effusion", 0.0),
        ("as before", "left effusion", 0.0),
        ("left effusion", "as before", 0.0),
    ],
)
def test_radgraph_compares_entities_without_their_case(retrieved, true, f1):
    estimate, notes = radgraph([retrieved], [true])
    assert (estimate.value, estimate.n) == (pytest.approx(f1), 1)
    assert notes == ()


def test_two_reports_without_an_entity_are_left_out_of_radgraph_and_counted():
    true = ["Left effusion", "As before", "As before", "Lungs clear"]
    retrieved = ["left effusion", "Same", "Clear", "right pneumothorax"]
    estimate, notes = radgraph(retrieved, true, blind=["Clear"] * 4)
    assert (estimate.value, estimate.n) == (pytest.approx((1 + 0 + 0) / 3), 3)
    assert estimate.chance == pytest.approx((0 + 0 + 0 + 2 / 3) / 4)
    assert notes == ("radgraph, left out: 1 studies in which neither report names an entity",)


def test_radgraph_of_reports_without_any_entity_is_not_measured():
    assert radgraph(["same"], ["as before"]) == (
        None,
        ("radgraph, left out: 1 studies in which neither report names an entity",),
    )
