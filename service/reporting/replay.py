"""Writes a report of the audit log again, and says what has changed since."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace

from service.cases.library import CaseLibrary
from service.cases.schema import EVERYTHING, CaseFilter, EmbeddedStudy
from service.deadline import Deadline
from service.errors import LlmUnavailable, RequestMalformed, StudyUnknown
from service.imaging.deidentify import Pseudonymiser, StudyRef
from service.reporting.audit import AuditRecord, Cited
from service.reporting.background import Background, read_background
from service.reporting.evidence import Evidence, Subject
from service.reporting.pipeline import Reporter, final_report
from service.reporting.report import ReportRequest
from service.reporting.sentences import Sentence


@dataclass(frozen=True, slots=True)
class Replay:
    """The outcome of writing a report again.

    same: whether every sentence is the same, word for word. changes: what else has changed.
    """

    same: bool
    changes: tuple[str, ...]


def written_again(
    record: AuditRecord,
    reporter: Reporter,
    indication: str | None,
    comparison: str | None,
    deadline: Deadline,
) -> Replay:
    """Writes a report again from the recorded evidence, as the library holds it now.

    Raises RequestMalformed if indication or comparison are not those of the record, and
    LlmUnavailable if a language model wrote the report and there is none now.
    """
    where = _filter(record.where, reporter.library, reporter.audit.pseudonyms)
    request = _request(record, where, reporter.audit.pseudonyms, indication, comparison)
    by_model = record.generator.kind == "vllm"
    if by_model and reporter.language_model is None:
        raise LlmUnavailable("A language model wrote this report. Set ECLIP_LLM_URL.")
    evidence = list(_evidence(record, reporter.library, reporter.audit.pseudonyms))
    if gone := len(record.evidence) - len(evidence):
        total = len(record.evidence)
        change = f"{gone} of its {total} passages were changed or deleted since"
        return Replay(same=False, changes=(change,))
    background = _background(reporter.library, request.subject)
    if record.prior not in (None, reporter.audit.hash_of(background.prior)):
        return Replay(same=False, changes=("the prior study was changed or deleted since",))
    embedding = record.embedding
    writer = reporter if by_model else replace(reporter, language_model=None)
    today = reporter.gather(embedding, request, background, deadline)
    report = final_report(writer.write(embedding, evidence, request, background, deadline))
    again = reporter.audit.record(embedding, request, report)
    changes = [
        *_evidence_changes(record, today),
        *_origin_changes(record, again),
        *_sentence_changes(record, again),
    ]
    return Replay(_sentences(record) == _sentences(again), tuple(changes))


def _request(
    record: AuditRecord,
    where: CaseFilter,
    pseudonyms: Pseudonymiser,
    indication: str | None,
    comparison: str | None,
) -> ReportRequest:
    """Returns the request of the record; its hashed ids serve as ids do."""
    for name, given, recorded in (
        ("indication", indication, record.indication),
        ("comparison", comparison, record.comparison),
    ):
        if (given and pseudonyms.text(given)) != recorded:
            raise RequestMalformed(
                f"The {name} differs from that of the recorded report. The log keeps only a hash "
                f"of it: give the same {name} again, or none if the report had none."
            )
    return ReportRequest(
        k=record.provenance.k,
        subject=Subject(record.patient_id, record.study_id, record.prior_study_id),
        where=where,
        indication=indication,
        comparison=comparison,
        seed=record.provenance.seed,
        min_score=record.min_score,
        diversity=record.diversity,
        ungrounded=record.ungrounded,
    )


def _filter(where: CaseFilter, library: CaseLibrary, pseudonyms: Pseudonymiser) -> CaseFilter:
    """Returns the recorded conditions in plain values, found among those that the library has.

    A value that no study has any more stays a hash. It is met by no study either way.
    """
    stored = library.store.facets(EVERYTHING)

    def plain(name: str) -> tuple[str, ...]:
        values = {pseudonyms.text(value): value for value in stored.get(name, ())}
        return tuple(values.get(value, value) for value in getattr(where, name))

    return CaseFilter(**{field.name: plain(field.name) for field in fields(CaseFilter)})


def _background(library: CaseLibrary, subject: Subject) -> Background:
    """Returns what the library knows of the subject; without a prior study that is gone."""
    try:
        return read_background(library, subject)
    except (StudyUnknown, RequestMalformed):
        return read_background(library, replace(subject, prior_study_id=None))


def _evidence(
    record: AuditRecord, library: CaseLibrary, pseudonyms: Pseudonymiser
) -> Iterator[Evidence]:
    """Yields the recorded passages that the library still has, in the same words."""
    studies = library.get_many([cited.study_id for cited in record.evidence])
    for number, cited in enumerate(record.evidence, start=1):
        passage = _passage(number, cited, studies)
        if passage is not None and pseudonyms.text(passage.text) == cited.text:
            yield passage


def _passage(
    number: int, cited: Cited, studies: Mapping[StudyRef, EmbeddedStudy]
) -> Evidence | None:
    study = studies.get(cited.study_id)
    if study is None:
        return None
    for passage, vector in zip(study.study.passages, study.passage_vectors, strict=True):
        if passage.id == cited.passage_id:
            return Evidence(
                number=number,
                passage_id=cited.passage_id,
                study_id=cited.study_id,
                section=passage.section,
                text=passage.text,
                score=cited.score,
                vector=vector,
                patient_id=study.study.patient_id,
            )
    return None


def _evidence_changes(record: AuditRecord, today: list[Evidence]) -> Iterator[str]:
    """Says whether the library has other evidence for the radiograph today."""
    then = {cited.passage_id for cited in record.evidence}
    now = {passage.passage_id for passage in today}
    if then != now:
        yield f"a search today finds {len(now - then)} other passages, and {len(then - now)} less"


def _origin_changes(record: AuditRecord, again: AuditRecord) -> Iterator[str]:
    """Says which bundle, software, prompt or model has changed."""
    for what, then, now in (
        ("bundle", record.provenance.bundle_id, again.provenance.bundle_id),
        ("software", record.provenance.software, again.provenance.software),
        ("prompt", record.provenance.prompt, again.provenance.prompt),
        ("model", record.generator.model, again.generator.model),
        ("passages shown", record.generator.passages, again.generator.passages),
    ):
        if then != now:
            yield f"{what}: {then}, now {now}"


def _sentence_changes(record: AuditRecord, again: AuditRecord) -> Iterator[str]:
    """Says which sentences are gone and which are new."""
    then, now = _sentences(record), _sentences(again)
    yield from (
        f"no longer: {part}: {sentence.text}"
        for part, sentence in then
        if (part, sentence) not in now
    )
    yield from (
        f"now: {part}: {sentence.text}" for part, sentence in now if (part, sentence) not in then
    )


def _sentences(record: AuditRecord) -> list[tuple[str, Sentence]]:
    """Returns all drafted sentences by part; the text of a withheld one is a hash."""
    return [
        *(("findings", sentence) for sentence in record.findings),
        *(("impression", sentence) for sentence in record.impression),
        *(("withheld", sentence) for sentence in record.withheld),
    ]
