"""Is a report of the audit log written again as it was, and if not, what has changed since?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from service.deadline import Deadline
from service.errors import LlmUnavailable, RequestMalformed, StudyUnknown
from service.reporting.audit import Cited, Record
from service.reporting.evidence import Evidence, Subject
from service.reporting.grounding import Sentence
from service.reporting.pipeline import Reporter, whole
from service.reporting.prior import Prior, read_prior
from service.reporting.report import ReportRequest


@dataclass(frozen=True, slots=True)
class Replay:
    """same: whether the report is written again, word for word. changes: what else has changed."""

    same: bool
    changes: tuple[str, ...]


def written_again(
    record: Record,
    reporter: Reporter,
    indication: str | None,
    comparison: str | None,
    deadline: Deadline,
) -> Replay:
    """The report is written again from the recorded evidence, as the library holds it now. Raises
    RequestMalformed where indication or comparison are not the record's own, LlmUnavailable where
    a language model wrote the report and none is there.
    """
    request = _request(record, reporter, indication, comparison)
    by_llm = record.generator.kind == "vllm"
    if by_llm and reporter.language_model is None:
        raise LlmUnavailable("A language model wrote this report. Set ECLIP_LLM_URL.")
    evidence = list(_evidence(record, reporter))
    if len(evidence) < len(record.evidence):
        gone = len(record.evidence) - len(evidence)
        told = f"{gone} of its {len(record.evidence)} passages were changed or deleted since"
        return Replay(same=False, changes=(told,))
    prior = _prior(reporter, request.subject)
    read = reporter.audit.hash_of(prior.passages if prior else ())
    if record.prior not in (None, read):
        return Replay(same=False, changes=("the prior study was changed or deleted since",))
    writer = reporter if by_llm else replace(reporter, language_model=None)
    found = reporter.gather(record.radiograph, request, prior, deadline)
    written = whole(writer.write(record.radiograph, evidence, request, prior, deadline))
    again = reporter.audit.record(record.radiograph, request, written)
    changes = [*_searched(record, found), *_made_by(record, again), *_said(record, again)]
    return Replay(_sentences(record) == _sentences(again), tuple(changes))


def _request(
    record: Record, reporter: Reporter, indication: str | None, comparison: str | None
) -> ReportRequest:
    """What the report was asked of; hashed ids are taken as ids are."""
    text = reporter.audit.pseudonyms.text
    for name, given, recorded in (
        ("indication", indication, record.indication),
        ("comparison", comparison, record.comparison),
    ):
        if (given and text(given)) != recorded:
            raise RequestMalformed(
                f"The log holds a hash of the {name} alone, and what was given now is not it. Give "
                f"the {name} that the report was asked with, or none if it had none."
            )
    return ReportRequest(
        k=record.provenance.k,
        subject=Subject(record.patient_id, record.study_id, record.prior_study_id),
        where=record.where,
        indication=indication,
        comparison=comparison,
        seed=record.provenance.seed,
        min_score=record.min_score,
        diversity=record.diversity,
        ungrounded=record.ungrounded,
    )


def _prior(reporter: Reporter, subject: Subject) -> Prior | None:
    """What the library still has of the prior study, if there was one."""
    try:
        return read_prior(reporter.library, subject)
    except (StudyUnknown, RequestMalformed):
        return None


def _evidence(record: Record, reporter: Reporter) -> Iterator[Evidence]:
    """What the library still has of it, in the same words."""
    for number, cited in enumerate(record.evidence, start=1):
        passage = _passage(cited, reporter)
        if passage is not None:
            yield replace(passage, number=number)


def _passage(cited: Cited, reporter: Reporter) -> Evidence | None:
    try:
        study = reporter.library.get(cited.study_id)
    except StudyUnknown:
        return None
    for passage in study.passages:
        if passage.id == cited.passage_id:
            if reporter.audit.pseudonyms.text(passage.text) != cited.text:
                return None
            where = (passage.section, passage.text, cited.score)
            return Evidence(0, cited.passage_id, cited.study_id, *where)
    return None


def _searched(record: Record, found: list[Evidence]) -> Iterator[str]:
    """Whether the library has other evidence for the radiograph today."""
    then, now = {one.passage_id for one in record.evidence}, {one.passage_id for one in found}
    if then != now:
        yield f"a search today finds {len(now - then)} other passages, and {len(then - now)} less"


def _made_by(record: Record, again: Record) -> Iterator[str]:
    for what, then, now in (
        ("bundle", record.provenance.bundle_id, again.provenance.bundle_id),
        ("software", record.provenance.software, again.provenance.software),
        ("prompt", record.provenance.prompt, again.provenance.prompt),
        ("model", record.generator.model, again.generator.model),
        ("passages shown", record.generator.passages, again.generator.passages),
    ):
        if then != now:
            yield f"{what}: {then}, now {now}"


def _said(record: Record, again: Record) -> Iterator[str]:
    then, now = _sentences(record), _sentences(again)
    yield from (
        f"no longer: {section}: {one.text}" for section, one in then if (section, one) not in now
    )
    yield from (f"now: {section}: {one.text}" for section, one in now if (section, one) not in then)


def _sentences(record: Record) -> list[tuple[str, Sentence]]:
    """All that was drafted; of what was withheld the text is a hash."""
    return [
        (section, sentence)
        for section in ("findings", "impression", "withheld")
        for sentence in getattr(record, section)
    ]
