"""Evidence → draft → grounding → report, with provenance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from service.cases.library import CaseLibrary
from service.cases.schema import CaseFilter
from service.inference.batching import Deadline
from service.inference.encoder import EncodedImage, Encoder
from service.inference.zero_shot import Classifier, Finding
from service.reporting import extractive
from service.reporting.evidence import Evidence, Subject, gather, mean_unit
from service.reporting.grounding import Draft, Sentence, ground
from service.reporting.llm import LanguageModel
from service.reporting.prompt import VERSION, prompt_hash
from service.telemetry import timed

DEFAULT_K = 8


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What a report is asked of. `where` restricts the cases that evidence may come from."""

    k: int = DEFAULT_K
    subject: Subject = Subject()
    where: CaseFilter = CaseFilter()
    indication: str | None = None
    comparison: str | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Generator:
    """Who wrote the draft."""

    kind: Literal["vllm", "extractive"]
    model: str


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
        """The evidence, then each grounded sentence, then the report."""
        vector = mean_unit([image.vector for image in images])
        evidence = gather(self.library, vector, request.k, request.subject, request.where)
        yield evidence
        findings, impression, generator = self._draft(evidence, request, deadline)
        with timed("ground"):
            sentences = ground([*findings, *impression], evidence, self.encoder, deadline)
        kept = [sentence for sentence in sentences if sentence.status == "supported"]
        yield from kept
        yield Report(
            findings=_kept(sentences[: len(findings)]),
            impression=_kept(sentences[len(findings) :]),
            withheld=tuple(s for s in sentences if s.status != "supported"),
            evidence=tuple(evidence),
            classification=tuple(self.classifier(vector)),
            generator=generator,
            provenance=self._provenance(request, generator),
            abstained=_abstention(evidence, kept),
        )

    def _draft(
        self, evidence: Sequence[Evidence], request: ReportRequest, deadline: Deadline
    ) -> tuple[list[Draft], list[Draft], Generator]:
        if self.language_model is None or not evidence:
            findings, impression = extractive.write(evidence, self.encoder, deadline)
            return findings, impression, Generator("extractive", extractive.MODEL)
        with timed("llm"):
            drafted = self.language_model.draft(
                evidence,
                indication=request.indication,
                comparison=request.comparison,
                seed=request.seed,
                deadline=deadline,
            )
        return drafted.findings, drafted.impression, Generator("vllm", drafted.model)

    def _provenance(self, request: ReportRequest, generator: Generator) -> Provenance:
        by_prompt = generator.kind == "vllm"
        return Provenance(
            bundle_id=self.encoder.bundle.manifest.id,
            prompt=f"{VERSION}:{prompt_hash()}" if by_prompt else None,
            seed=request.seed,
            k=request.k,
            software=f"eclip-radiology {version('eclip-radiology')}",
        )


def _kept(sentences: Sequence[Sentence]) -> tuple[Sentence, ...]:
    return tuple(sentence for sentence in sentences if sentence.status == "supported")


def _abstention(evidence: Sequence[Evidence], kept: Sequence[Sentence]) -> str | None:
    if not evidence:
        return "No case in the library may serve as evidence for this request."
    if not kept:
        return "No drafted sentence is supported by the evidence it cites."
    return None
