"""Runs the suite: every measure of one encoder on one test set, as one result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from service.bundle.labels import Prompts
from training.data.labels import Uncertain, is_labelled, resolved, uncertain
from training.data.pairs import Pairs
from training.data.splits import check_disjoint
from training.data.study import DataError, Split
from training.evaluate import MEASURES, PromptMean
from training.evaluate.bootstrap import RESAMPLES, patient_counts
from training.evaluate.encode import DualEncoder, EmbeddedPairs
from training.evaluate.geometry import geometry
from training.evaluate.linear_probe import linear_probe
from training.evaluate.maps import maps
from training.evaluate.prompt_retrieval import prompt_retrieval
from training.evaluate.reports import reports
from training.evaluate.result import Measurement, NotMeasured, Result
from training.evaluate.retrieval import retrieval
from training.evaluate.zero_shot import zero_shot


@dataclass(frozen=True)
class SuiteInput:
    """The studies to measure on, with prompts.

    train: what a probe or a library may learn from. validation: what may choose a threshold.
    """

    test: EmbeddedPairs
    train: EmbeddedPairs | None
    validation: EmbeddedPairs | None
    prompts: Mapping[str, Prompts]
    prompt_mean: PromptMean = "unit"

    def needed_train(self) -> EmbeddedPairs:
        """Returns the training studies; raises NotMeasured if there are none."""
        if self.train is None:
            raise NotMeasured("there are no training studies")
        return self.train


_MEASURE: dict[str, Callable[[SuiteInput], Measurement]] = {
    "zero_shot": lambda s: zero_shot(
        s.test, s.prompts, patient_counts(s.test.patients), s.prompt_mean
    ),
    "linear_probe": lambda s: linear_probe(s.needed_train(), s.test, tuple(s.prompts)),
    "retrieval": lambda s: _retrieval(s.test, s.prompts),
    "geometry": lambda s: geometry(s.test),
    "reports": lambda s: reports(s.needed_train(), s.test),
    "maps": lambda s: maps(s.test, s.prompts, s.validation, s.train),
}
NEED_TRAINING = frozenset({"linear_probe", "reports"})
"""Measures that learn from, or retrieve, training studies."""


def run_suite(
    encoder: DualEncoder,
    test: Pairs,
    train: Pairs | None,
    labels: Mapping[str, Prompts],
    *,
    validation: Pairs | None = None,
    measures: Sequence[str] = MEASURES,
    uncertain_as: Uncertain = "ignored",
    prompt_mean: PromptMean = "unit",
    about: Mapping[str, JsonValue] | None = None,
) -> Result:
    """Measures `encoder` on `test`. What these studies cannot answer becomes a note.

    test, train, validation: pairs at the encoder's input size, with heatmaps and lesions if maps
    are measured; reports and findings may be missing. validation: what the thresholds of maps are
    chosen on. labels: name of a finding → its prompts, with its calibration if it is a Label.
    uncertain_as: what uncertain findings of all three count as. prompt_mean: how zero-shot scores
    combine a label's prompts. about: facts to put into the result. Raises LeakageError if two of
    the three share anything, DataError for an unknown measure.
    """
    if unknown := sorted(set(measures) - set(MEASURES)):
        raise DataError(f"unknown measure {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    splits: dict[Split, Pairs | None] = {"test": test, "train": train, "validation": validation}
    given = {split: pairs for split, pairs in splits.items() if pairs is not None}
    check_disjoint({split: pairs.studies for split, pairs in given.items()})
    embedded = {
        split: EmbeddedPairs(encoder, _resolved(pairs, uncertain_as))
        for split, pairs in given.items()
    }
    subject = SuiteInput(
        embedded["test"], embedded.get("train"), embedded.get("validation"), labels, prompt_mean
    )
    return Result(
        about=dict(about or {}) | _facts(subject) | _label_facts(test, uncertain_as),
        sections={name: _section(subject, name) for name in measures},
    )


def _retrieval(test: EmbeddedPairs, prompts: Mapping[str, Prompts]) -> Measurement:
    found = retrieval(test, tuple(prompts))
    return replace(found, values=found.values | prompt_retrieval(test, prompts))


def _resolved(pairs: Pairs, policy: Uncertain) -> Pairs:
    return replace(pairs, studies=tuple(resolved(study, policy) for study in pairs.studies))


def _label_facts(test: Pairs, policy: Uncertain) -> dict[str, JsonValue]:
    doubtful = sum(len(uncertain(study)) for study in test.studies if is_labelled(study))
    return {
        "test studies without labels": sum(not is_labelled(study) for study in test.studies),
        "uncertain labels": f"{doubtful}, {policy}",
    }


def _section(subject: SuiteInput, name: str) -> Measurement:
    try:
        return _MEASURE[name](subject)
    except NotMeasured as reason:
        return Measurement(notes=(f"not measured: {reason}",))


def _facts(subject: SuiteInput) -> dict[str, JsonValue]:
    test, train = subject.test, subject.train
    return {
        "test studies": len(test.pairs),
        "test patients": len(set(test.patients)),
        "test studies with a report": len(test.reported),
        "training studies": 0 if train is None else len(train.pairs),
        "labels": ", ".join(subject.prompts),
        "mean of a label's prompts": subject.prompt_mean,
        "scoring": test.encoder.scorer.kind,
        "intervals": f"95 % of {RESAMPLES} resamples of whole patients",
    }
