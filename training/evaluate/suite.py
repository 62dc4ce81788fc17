"""The suite: every measure of one encoder on one test set, as one result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from service.bundle.labels import Prompts
from training.data.pairs import Pairs
from training.data.splits import check_disjoint
from training.data.study import DataError
from training.evaluate.attention import attention
from training.evaluate.bootstrap import RESAMPLES, patient_counts
from training.evaluate.encode import Embedded, Encoder
from training.evaluate.geometry import geometry
from training.evaluate.linear_probe import linear_probe
from training.evaluate.reports import reports
from training.evaluate.result import NotMeasured, Result, Section
from training.evaluate.retrieval import retrieval
from training.evaluate.zero_shot import zero_shot


@dataclass(frozen=True)
class Subject:
    """What is measured, and with which prompts; `train` is what a probe and a library may use."""

    test: Embedded
    train: Embedded | None
    prompts: Mapping[str, Prompts]

    def needed_train(self) -> Embedded:
        """The training studies; raises NotMeasured without any."""
        if self.train is None:
            raise NotMeasured("there are no training studies")
        return self.train


MEASURES: dict[str, Callable[[Subject], Section]] = {
    "zero_shot": lambda s: zero_shot(s.test, s.prompts, patient_counts(s.test.patients)),
    "linear_probe": lambda s: linear_probe(s.needed_train(), s.test, tuple(s.prompts)),
    "retrieval": lambda s: retrieval(s.test, tuple(s.prompts)),
    "geometry": lambda s: geometry(s.test),
    "reports": lambda s: reports(s.needed_train(), s.test),
    "attention": lambda s: attention(s.test, s.prompts),
}
NEED_TRAINING = frozenset({"linear_probe", "reports"})


def run_suite(
    encoder: Encoder,
    test: Pairs,
    train: Pairs | None,
    labels: Mapping[str, Prompts],
    *,
    measures: Sequence[str] = tuple(MEASURES),
    about: Mapping[str, JsonValue] | None = None,
) -> Result:
    """Measure `encoder` on `test`; what these studies cannot tell is a note in its section.

    test, train: pairs at the encoder's input size, with heatmaps and lesions where attention is to
    be measured; reports and findings may be missing. labels: name of a finding → its prompts, with
    its calibration where it is a Label. about: facts that the result is to carry. Raises
    LeakageError where the two share anything, DataError where a measure has no such name.
    """
    if unknown := sorted(set(measures) - set(MEASURES)):
        raise DataError(f"no measure {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    if train is not None:
        check_disjoint({"train": train.studies, "test": test.studies})
    subject = Subject(
        Embedded(encoder, test), None if train is None else Embedded(encoder, train), labels
    )
    return Result(
        about=dict(about or {}) | _facts(subject),
        sections={name: _section(subject, name) for name in measures},
    )


def _section(subject: Subject, name: str) -> Section:
    try:
        return MEASURES[name](subject)
    except NotMeasured as reason:
        return Section(notes=(f"not measured: {reason}",))


def _facts(subject: Subject) -> dict[str, JsonValue]:
    test, train = subject.test, subject.train
    return {
        "test studies": len(test.pairs),
        "test patients": len(set(test.patients)),
        "test studies with a report": len(test.reported),
        "training studies": 0 if train is None else len(train.pairs),
        "labels": ", ".join(subject.prompts),
        "intervals": f"95 % of {RESAMPLES} resamples of whole patients",
    }
