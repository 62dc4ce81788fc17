"""Makes reports: gathers evidence, has a writer draft sentences, and grounds each of them."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.metadata import version

from service.cases.library import CaseLibrary, Query
from service.cases.schema import Vector
from service.deadline import Deadline
from service.errors import DeadlineExceeded, LlmUnavailable, ReportUngrounded
from service.imaging.content import require_radiographs
from service.inference.encoder import EncodedImage, Encoder
from service.inference.maps import Mapper
from service.inference.zero_shot import Classifier
from service.reporting.audit import AuditLog, new_id
from service.reporting.background import Background, read_background
from service.reporting.evidence import Evidence, gather, mean_unit
from service.reporting.evidence_set import EvidenceSet
from service.reporting.extractive import ExtractiveWriter
from service.reporting.grounding import Grounding
from service.reporting.pointing import pointing_in
from service.reporting.prompt import VERSION, prompt_hash
from service.reporting.regions import Pointing
from service.reporting.report import Provenance, Report, ReportRequest
from service.reporting.sentences import Draft, ReportPart, Sentence
from service.reporting.writer import Writer, WritingTask, WrittenBy
from service.telemetry import timed


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One draft by one writer, grounded."""

    written_by: WrittenBy
    drafted: list[tuple[ReportPart, Sentence]] = field(default_factory=list)


@dataclass(frozen=True)
class Reporter:
    """Makes reports from a case library; a language model writes them if there is one."""

    encoder: Encoder
    library: CaseLibrary
    classifier: Classifier | None
    """Of the bundle's first label set; None where it has none."""
    mapper: Mapper
    language_model: Writer | None
    audit: AuditLog

    def pointing(
        self, read: Callable[[int], bytes], images: Sequence[EncodedImage], deadline: Deadline
    ) -> Pointing | None:
        """Returns where findings point in the views of one study: see `pointing_in`."""
        return pointing_in(read, images, self.mapper, self.classifier, deadline)

    def report(
        self,
        images: Sequence[EncodedImage],
        request: ReportRequest,
        deadline: Deadline,
        pointing: Pointing | None = None,
    ) -> Report:
        """Returns the report on the views of one study. Raises what `events` raises."""
        return final_report(self.events(images, request, deadline, pointing))

    def events(
        self,
        images: Sequence[EncodedImage],
        request: ReportRequest,
        deadline: Deadline,
        pointing: Pointing | None = None,
    ) -> Generator[list[Evidence] | Sentence | Report, None, None]:
        """Yields the evidence, then each grounded sentence as it is written, then the report.

        The audit log has the report before it is yielded. Only the report counts: if a writer had
        to begin again, sentences of its first draft were yielded that are not in the report. Raises
        ImageNotARadiograph, or TextUnavailable if the bundle encodes no texts: then the library has
        no vectors of reports to find evidence by, nor of sentences to ground them by.
        """
        self.encoder.bundle.manifest.require_text()
        require_radiographs([image.facts for image in images])
        embedding = mean_unit([image.vector for image in images])
        background = read_background(self.library, request.subject)
        evidence = self.gather(embedding, request, background, deadline)
        yield evidence
        written = self.write(embedding, evidence, request, background, deadline, pointing)
        with closing(written) as events:
            for event in events:
                if isinstance(event, Report):
                    event = replace(event, warnings=_warnings(images))
                    self.audit.append(embedding, _about(request, background), event)
                yield event

    def gather(
        self, embedding: Vector, request: ReportRequest, background: Background, deadline: Deadline
    ) -> list[Evidence]:
        """Returns the library's evidence for a radiograph, whose embedding is a unit float32[D]."""
        query = Query(
            target="report",
            k=request.k,
            where=request.where,
            exclude=background.exclude,
            min_score=request.min_score,
            diversity=request.diversity,
            vector_of="image",
            group_by_study=True,
        )
        return gather(self.library, embedding, query, deadline)

    def write(
        self,
        embedding: Vector,
        evidence: Sequence[Evidence],
        request: ReportRequest,
        background: Background,
        deadline: Deadline,
        pointing: Pointing | None = None,
    ) -> Generator[Sentence | Report, None, None]:
        """Yields each sentence that the report may have, as it is written; then the report.

        The language model writes if there is one and any evidence. Otherwise, or if it fails and
        the request has a fallback, the extractive writer does. A sentence that a writer repeats
        when it begins again is yielded once.
        """
        task = WritingTask(
            evidence=EvidenceSet(evidence),
            prior=background.prior,
            classification=() if self.classifier is None else self.classifier(embedding),
            indication=request.indication,
            comparison=request.comparison,
            seed=request.seed,
        )
        with timed("ground"):
            grounding = Grounding(
                task.evidence, task.classification, self.encoder, deadline, pointing
            )
        attempts: list[_Attempt] = []
        with closing(self._draft(task, request, deadline)) as steps:
            for step in steps:
                if isinstance(step, WrittenBy):
                    attempts.append(_Attempt(step))
                    continue
                with timed("ground"):
                    sentence = grounding.check(step)
                attempts[-1].drafted.append((step.part, sentence))
                if request.wants(sentence) and not _repeated(step.part, sentence, attempts):
                    yield sentence
        report = self._assemble(task, request, attempts[-1])
        yield replace(
            report, prior_study_id=background.prior_study_id, prior_from=background.prior_from
        )

    def _draft(
        self, task: WritingTask, request: ReportRequest, deadline: Deadline
    ) -> Generator[WrittenBy | Draft, None, None]:
        """Yields the steps of the writer, and of the one that takes over if it fails."""
        if self.language_model is None or not task.evidence.passages:
            yield from ExtractiveWriter().write(task, deadline)
            return
        try:
            yield from self.language_model.write(task, deadline)
        except (LlmUnavailable, ReportUngrounded, DeadlineExceeded) as error:
            if request.fallback is None:
                raise
            yield from ExtractiveWriter(fallback=error.detail).write(task, deadline)

    def _assemble(self, task: WritingTask, request: ReportRequest, attempt: _Attempt) -> Report:
        """Returns the report that the last attempt makes."""
        written_by, drafted = attempt.written_by, attempt.drafted
        by_model = written_by.kind == "vllm"
        sentences = [sentence for _, sentence in drafted]
        wanted = [(part, sentence) for part, sentence in drafted if request.wants(sentence)]
        return Report(
            findings=tuple(sentence for part, sentence in wanted if part == "findings"),
            impression=tuple(sentence for part, sentence in wanted if part == "impression"),
            withheld=tuple(sentence for sentence in sentences if not request.wants(sentence)),
            evidence=task.evidence.passages,
            prior=task.prior if by_model else (),
            classification=tuple(task.classification),
            generator=written_by,
            provenance=Provenance(
                bundle_id=self.encoder.bundle.manifest.id,
                prompt=f"{VERSION}:{prompt_hash()}" if by_model else None,
                seed=request.seed,
                k=request.k,
                software=f"eclip-radiology {version('eclip-radiology')}",
                record=new_id(),
            ),
            abstained=_abstention(task.evidence, sentences, request),
        )


def _about(request: ReportRequest, background: Background) -> ReportRequest:
    """Returns the request with the prior study, and the patient where it names the study alone."""
    subject, patients = request.subject, background.exclude.patient_ids
    patient = subject.patient_id or next(iter(patients), None)
    subject = replace(subject, patient_id=patient, prior_study_id=background.prior_study_id)
    return replace(request, subject=subject)


def final_report(events: Iterator[object]) -> Report:
    """Returns the report that the events end with."""
    (report,) = (event for event in events if isinstance(event, Report))
    return report


def _warnings(images: Sequence[EncodedImage]) -> tuple[str, ...]:
    """Returns the warnings of all views, each once."""
    return tuple(dict.fromkeys(text for image in images for text in image.facts.warnings))


def _repeated(part: ReportPart, sentence: Sentence, attempts: Sequence[_Attempt]) -> bool:
    """Decides whether an earlier draft of the same writer had the sentence in this part."""
    *earlier, latest = attempts
    return any(
        (part, sentence) in attempt.drafted
        for attempt in earlier
        if attempt.written_by.kind == latest.written_by.kind
    )


def _abstention(
    evidence: EvidenceSet, sentences: Sequence[Sentence], request: ReportRequest
) -> str | None:
    """Returns why there is no report; None if at least one sentence is supported."""
    if not evidence.passages and request.min_score is not None:
        return f"No case in the library is as near to this radiograph as {request.min_score}."
    if not evidence.passages and (request.subject.patient_id or request.subject.study_id):
        return (
            "No case in the library may serve as evidence for this request. Cases of the patient "
            "and the study that the request or its DICOM files name are left out."
        )
    if not evidence.passages:
        return "No case in the library may serve as evidence for this request."
    if any(sentence.status == "supported" for sentence in sentences):
        return None
    if any(sentence.outweighed for sentence in sentences):
        return (
            "The evidence contradicts itself: the passages that deny a drafted sentence outweigh "
            "those that say it."
        )
    return "No drafted sentence is supported by the evidence it cites."
