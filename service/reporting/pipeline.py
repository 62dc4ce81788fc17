"""Evidence → draft → grounding → report, with provenance."""

import time
from collections.abc import Generator as Steps
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from service.cases.library import CaseLibrary, Query
from service.cases.schema import Vector
from service.deadline import Deadline
from service.errors import DeadlineExceeded, LlmUnavailable, ReportUngrounded
from service.inference.encoder import EncodedImage, Encoder
from service.inference.zero_shot import Classifier, Finding
from service.reporting import extractive
from service.reporting.audit import AuditLog, new_id
from service.reporting.evidence import Evidence, gather, mean_unit, said_once
from service.reporting.grounding import Grounding, Proposed, Section, Sentence
from service.reporting.llm import LanguageModel
from service.reporting.prior import Prior, read_prior
from service.reporting.prompt import VERSION, Ask, prompt_hash
from service.reporting.report import Generator, Provenance, Report, ReportRequest
from service.telemetry import record, timed

Written = list[tuple[Section, Sentence]]


@dataclass(frozen=True, slots=True)
class _Task:
    """What a writer works on."""

    evidence: Sequence[Evidence]
    prior: tuple[str, ...]
    findings: Sequence[Finding]
    request: ReportRequest
    grounding: Grounding
    deadline: Deadline


@dataclass(frozen=True)
class Reporter:
    """Writes reports from a case library: by the language model where there is one."""

    encoder: Encoder
    library: CaseLibrary
    classifier: Classifier
    language_model: LanguageModel | None
    audit: AuditLog

    def report(
        self, images: Sequence[EncodedImage], request: ReportRequest, deadline: Deadline
    ) -> Report:
        """The whole report at once."""
        return whole(self.events(images, request, deadline))

    def events(
        self, images: Sequence[EncodedImage], request: ReportRequest, deadline: Deadline
    ) -> Iterator[list[Evidence] | Sentence | Report]:
        """The evidence, then each grounded sentence as it is written, then the report, which the
        audit log has by then.

        The report is what counts: what was told of a draft that was then begun anew is not in it.
        """
        vector = mean_unit([image.vector for image in images])
        prior = read_prior(self.library, request.subject)
        evidence = self.gather(vector, request, prior, deadline)
        yield evidence
        for event in self.write(vector, evidence, request, prior, deadline):
            if isinstance(event, Report):
                self.audit.append(vector, request, event)
            yield event

    def gather(
        self, vector: Vector, request: ReportRequest, prior: Prior | None, deadline: Deadline
    ) -> list[Evidence]:
        """The evidence that the library has for a radiograph, a unit float32[D]; none of it of the
        patient of the prior study.
        """
        subject = request.subject
        query = Query(
            target="report",
            k=request.k,
            where=request.where,
            exclude=self.library.exclusion(
                prior.patient_id if prior else subject.patient_id, subject.study_id
            ),
            min_score=request.min_score,
            diversity=request.diversity,
            group_by_study=True,
        )
        return gather(self.library, vector, query, deadline)

    def write(
        self,
        vector: Vector,
        evidence: Sequence[Evidence],
        request: ReportRequest,
        prior: Prior | None,
        deadline: Deadline,
    ) -> Iterator[Sentence | Report]:
        """Each sentence as it is written, if the report is to have it, then the report.

        By the language model where there is one; else, or where it fails and the request says so,
        by the extractive writer.
        """
        findings = self.classifier(vector)
        with timed("ground"):
            grounding = Grounding(evidence, findings, self.encoder, deadline)
        earlier = prior.passages if prior else ()
        task = _Task(evidence, earlier, findings, request, grounding, deadline)
        generator, sentences = yield from self._written(task)
        kept = [(section, s) for section, s in sentences if request.wants(s)]
        yield Report(
            findings=tuple(s for section, s in kept if section == "findings"),
            impression=tuple(s for section, s in kept if section == "impression"),
            withheld=tuple(s for _, s in sentences if not request.wants(s)),
            evidence=tuple(evidence),
            prior=earlier if generator.kind == "vllm" else (),
            classification=tuple(findings),
            generator=generator,
            provenance=self._provenance(request, generator),
            abstained=_abstention(evidence, [s for _, s in sentences], request),
        )

    def _written(self, task: _Task) -> Steps[Sentence, None, tuple[Generator, Written]]:
        if self.language_model is None or not task.evidence:
            return (yield from self._extracted(task))
        try:
            with self.language_model.place():
                return (yield from self._drafted(self.language_model, task))
        except (LlmUnavailable, ReportUngrounded, DeadlineExceeded) as error:
            if task.request.fallback is None:
                raise
            return (yield from self._extracted(task, error.detail))

    def _drafted(
        self, language_model: LanguageModel, task: _Task
    ) -> Steps[Sentence, None, tuple[Generator, Written]]:
        """What breaks off, or is no report, is begun anew once; in the latter case it may then be
        longer.

        What the second draft says as the first did is not told again.
        """
        longer = False
        request = task.request
        ask = Ask(
            evidence=said_once(task.evidence),
            prior=task.prior,
            findings=task.findings,
            indication=request.indication,
            comparison=request.comparison,
            seed=request.seed,
        )
        told: list[Sentence] = []
        for again in (False, True):
            drafting = language_model.draft(ask, task.deadline, longer=longer)
            written: Written = []
            try:
                for proposed in _timed(drafting.sentences):
                    with timed("ground"):
                        (sentence,) = task.grounding.check([proposed.draft])
                    written.append((proposed.section, sentence))
                    if request.wants(sentence) and sentence not in told:
                        told.append(sentence)
                        yield sentence
            except (LlmUnavailable, ReportUngrounded) as error:
                if again:
                    raise
                longer = isinstance(error, ReportUngrounded)
            else:
                break
        return Generator("vllm", drafting.model, drafting.passages), written

    def _extracted(
        self, task: _Task, instead: str | None = None
    ) -> Steps[Sentence, None, tuple[Generator, Written]]:
        with timed("extract"):
            findings, impression = extractive.write(task.evidence, self.encoder, task.deadline)
        with timed("ground"):
            sentences = task.grounding.check([*findings, *impression])
        yield from filter(task.request.wants, sentences)
        written: Written = [("findings", sentence) for sentence in sentences[: len(findings)]]
        written += [("impression", sentence) for sentence in sentences[len(findings) :]]
        return Generator("extractive", extractive.MODEL, len(task.evidence), instead), written

    def _provenance(self, request: ReportRequest, generator: Generator) -> Provenance:
        by_prompt = generator.kind == "vllm"
        return Provenance(
            bundle_id=self.encoder.bundle.manifest.id,
            prompt=f"{VERSION}:{prompt_hash()}" if by_prompt else None,
            seed=request.seed,
            k=request.k,
            software=f"eclip-radiology {version('eclip-radiology')}",
            record=new_id(),
        )


def whole(events: Iterator[object]) -> Report:
    """The report that events end with."""
    (report,) = (event for event in events if isinstance(event, Report))
    return report


def _timed(drafts: Iterator[Proposed]) -> Iterator[Proposed]:
    """Record how long the language model took, without what is done between its sentences."""
    spent = 0.0
    try:
        while True:
            start = time.perf_counter()
            proposed = next(drafts, None)
            spent += time.perf_counter() - start
            if proposed is None:
                return
            yield proposed
    finally:
        record("llm", spent)


def _abstention(
    evidence: Sequence[Evidence], sentences: Sequence[Sentence], request: ReportRequest
) -> str | None:
    if not evidence and request.min_score is not None:
        return f"No case in the library is as near to this radiograph as {request.min_score}."
    if not evidence:
        return "No case in the library may serve as evidence for this request."
    if any(sentence.status == "supported" for sentence in sentences):
        return None
    if any(sentence.outweighed for sentence in sentences):
        return "The evidence contradicts itself: none of it outweighs what denies it."
    return "No drafted sentence is supported by the evidence it cites."
