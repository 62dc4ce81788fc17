"""Evidence → draft → grounding → report, with provenance."""

import time
from collections.abc import Generator as Steps
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from service.cases.library import CaseLibrary
from service.cases.schema import CaseFilter
from service.errors import DeadlineExceeded, LlmUnavailable, ReportUngrounded
from service.inference.batching import Deadline
from service.inference.encoder import EncodedImage, Encoder
from service.inference.zero_shot import Classifier, Finding
from service.reporting import extractive
from service.reporting.evidence import Evidence, Subject, gather, mean_unit
from service.reporting.grounding import Proposed, Section, Sentence, ground
from service.reporting.llm import Ask, LanguageModel
from service.reporting.prompt import VERSION, prompt_hash
from service.telemetry import record, timed

DEFAULT_K = 8
Written = list[tuple[Section, Sentence]]


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What a report is asked of. `where` restricts the cases that evidence may come from."""

    k: int = DEFAULT_K
    subject: Subject = Subject()
    where: CaseFilter = CaseFilter()
    indication: str | None = None
    comparison: str | None = None
    seed: int = 0
    fallback: Literal["extractive"] | None = None
    """Who writes where the language model fails; None: its error is the answer."""


@dataclass(frozen=True, slots=True)
class Generator:
    """Who wrote the draft."""

    kind: Literal["vllm", "extractive"]
    model: str
    passages: int
    """How many of the evidence it was given, nearest first."""
    fallback: str | None = None
    """Why the language model did not write it, where it was to."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What it takes to make the draft again."""

    bundle_id: str
    prompt: str | None
    """Version and sha256 of the prompt; None for the extractive writer."""
    seed: int
    k: int
    software: str


@dataclass(frozen=True, slots=True)
class Report:
    """A finished report. Every sentence cites evidence and is supported by it.

    withheld: sentences that the writer proposed and grounding refused.
    abstained: why there is no report, or None.
    """

    findings: tuple[Sentence, ...]
    impression: tuple[Sentence, ...]
    withheld: tuple[Sentence, ...]
    evidence: tuple[Evidence, ...]
    classification: tuple[Finding, ...]
    generator: Generator
    provenance: Provenance
    abstained: str | None


@dataclass(frozen=True)
class Reporter:
    """Writes reports from a case library: by the language model where there is one."""

    encoder: Encoder
    library: CaseLibrary
    classifier: Classifier
    language_model: LanguageModel | None

    def report(
        self, images: Sequence[EncodedImage], request: ReportRequest, deadline: Deadline
    ) -> Report:
        """The whole report at once."""
        for event in self.events(images, request, deadline):
            if isinstance(event, Report):
                return event
        raise AssertionError("events() ends with a Report")

    def events(
        self, images: Sequence[EncodedImage], request: ReportRequest, deadline: Deadline
    ) -> Iterator[list[Evidence] | Sentence | Report]:
        """The evidence, then each grounded sentence as it is written, then the report.

        The report is what counts: what was told of a draft that was then begun anew is not in it.
        """
        vector = mean_unit([image.vector for image in images])
        evidence = gather(self.library, vector, request.k, request.subject, request.where, deadline)
        yield evidence
        generator, sentences = yield from self._written(evidence, request, deadline)
        kept = [(section, s) for section, s in sentences if s.status == "supported"]
        yield Report(
            findings=tuple(s for section, s in kept if section == "findings"),
            impression=tuple(s for section, s in kept if section == "impression"),
            withheld=tuple(s for _, s in sentences if s.status != "supported"),
            evidence=tuple(evidence),
            classification=tuple(self.classifier(vector)),
            generator=generator,
            provenance=self._provenance(request, generator),
            abstained=_abstention(evidence, kept),
        )

    def _written(
        self, evidence: Sequence[Evidence], request: ReportRequest, deadline: Deadline
    ) -> Steps[Sentence, None, tuple[Generator, Written]]:
        """By the language model where there is one; else, or where it fails and the request says
        so, by the extractive writer.
        """
        if self.language_model is None or not evidence:
            return (yield from self._extracted(evidence, deadline))
        ask = Ask(evidence, request.indication, request.comparison, request.seed)
        try:
            return (yield from self._drafted(self.language_model, ask, deadline))
        except (LlmUnavailable, ReportUngrounded, DeadlineExceeded) as error:
            if request.fallback is None:
                raise
            return (yield from self._extracted(evidence, deadline, error.detail))

    def _drafted(
        self, language_model: LanguageModel, ask: Ask, deadline: Deadline
    ) -> Steps[Sentence, None, tuple[Generator, Written]]:
        """What breaks off, or is no report, is begun anew once, and may then be longer.

        What the second draft says as the first did is not told again.
        """
        told: list[Sentence] = []
        for again in (False, True):
            drafting = language_model.draft(ask, deadline, longer=again)
            written: Written = []
            try:
                for proposed in _timed(drafting.sentences):
                    with timed("ground"):
                        (sentence,) = ground([proposed.draft], ask.evidence, self.encoder, deadline)
                    written.append((proposed.section, sentence))
                    if sentence.status == "supported" and sentence not in told:
                        told.append(sentence)
                        yield sentence
            except (LlmUnavailable, ReportUngrounded):
                if again:
                    raise
            else:
                break
        return Generator("vllm", drafting.model, drafting.passages), written

    def _extracted(
        self, evidence: Sequence[Evidence], deadline: Deadline, instead: str | None = None
    ) -> Steps[Sentence, None, tuple[Generator, Written]]:
        findings, impression = extractive.write(evidence, self.encoder, deadline)
        with timed("ground"):
            sentences = ground([*findings, *impression], evidence, self.encoder, deadline)
        yield from (sentence for sentence in sentences if sentence.status == "supported")
        written: Written = [("findings", sentence) for sentence in sentences[: len(findings)]]
        written += [("impression", sentence) for sentence in sentences[len(findings) :]]
        return Generator("extractive", extractive.MODEL, len(evidence), instead), written

    def _provenance(self, request: ReportRequest, generator: Generator) -> Provenance:
        by_prompt = generator.kind == "vllm"
        return Provenance(
            bundle_id=self.encoder.bundle.manifest.id,
            prompt=f"{VERSION}:{prompt_hash()}" if by_prompt else None,
            seed=request.seed,
            k=request.k,
            software=f"eclip-radiology {version('eclip-radiology')}",
        )


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


def _abstention(evidence: Sequence[Evidence], kept: Written) -> str | None:
    if not evidence:
        return "No case in the library may serve as evidence for this request."
    if not kept:
        return "No drafted sentence is supported by the evidence it cites."
    return None
