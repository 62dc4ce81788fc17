"""POST /generate-report: a report whose every sentence cites its evidence."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field, TypeAdapter

from service.api.context import Services, Wired, work
from service.api.inputs import AsJson, Parameters, Upload, raised, read_input, some_images
from service.api.problems import describe, unexpected
from service.api.retrieve import Exclude, Filter, check_k
from service.api.schemas import (
    BundleName,
    EvidenceOut,
    FindingOut,
    GeneratedReport,
    GeneratorOut,
    ProvenanceOut,
    ReportOut,
    SentenceOut,
)
from service.auth import reader
from service.cases.records import Identifier
from service.deadline import Deadline
from service.errors import EclipError, RequestMalformed
from service.inference.encoder import EncodedImage
from service.reporting.evidence import Evidence, Subject
from service.reporting.formats import FORMATS
from service.reporting.report import DEFAULT_K, Report, ReportRequest
from service.reporting.sentences import Sentence

router = APIRouter(tags=["report"], dependencies=[reader])
_EVIDENCE = TypeAdapter(list[EvidenceOut])


class ReportParameters(Parameters):
    """Parameters of /generate-report. All images are views of one study."""

    indication: Annotated[str | None, Field(max_length=2000)] = None
    comparison: Annotated[str | None, Field(max_length=2000)] = None
    prior_study_id: Annotated[
        Identifier | None,
        Field(description="An earlier study of the patient, whose report the model reads too."),
    ] = None
    k: Annotated[int, Field(ge=1)] = DEFAULT_K
    filter: Annotated[Filter, AsJson] = Filter()
    exclude: Annotated[Exclude, AsJson] = Exclude()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    min_score: Annotated[
        float | None, Field(ge=-1, le=1, description="Cases that are farther are no evidence.")
    ] = None
    diversity: Annotated[
        float | None,
        Field(gt=0, le=1, description="How much evidence is to differ, rather than to be near."),
    ] = None
    ungrounded: Annotated[
        Literal["drop", "flag"],
        Field(description="Whether what the evidence does not support is withheld, or stays."),
    ] = "drop"
    stream: bool = False
    fallback: Annotated[
        Literal["extractive"] | None,
        Field(description="Who writes where the language model fails; else its error is told."),
    ] = None

    def asked(self) -> ReportRequest:
        """As the reporting pipeline takes it."""
        return ReportRequest(
            k=self.k,
            subject=Subject(self.exclude.patient_id, self.exclude.study_id, self.prior_study_id),
            where=self.filter.where(),
            indication=self.indication,
            comparison=self.comparison,
            seed=self.seed,
            min_score=self.min_score,
            diversity=self.diversity,
            fallback=self.fallback,
            ungrounded=self.ungrounded,
        )


@router.post(
    "/generate-report",
    response_model=GeneratedReport,
    responses={200: {"content": {kind: {"schema": {"type": "string"}} for kind in FORMATS}}},
)
async def generate_report(request: Request, wired: Wired) -> GeneratedReport | Response:
    """Findings and impression from the nearest cases: as JSON, or as text, Markdown or FHIR where
    `Accept` names that first; with `stream=true` as server-sent events.
    """
    uploads, parameters = await read_input(request, ReportParameters, wired.settings.max_images)
    check_k(parameters.k, wired)
    _check_filter(parameters.filter)
    deadline = Deadline(_seconds(wired), items=len(uploads))
    images = await work(request, deadline, _encode, wired, some_images(uploads), deadline)
    if parameters.stream:
        events = _streamed(request, wired, images, parameters.asked(), deadline)
        return StreamingResponse(events, media_type="text/event-stream")
    report = await work(
        request, deadline, wired.reporter.report, images, parameters.asked(), deadline
    )
    kind = _wanted(request.headers.get("accept", ""))
    return Response(FORMATS[kind](report), media_type=kind) if kind else _shape(wired, report)


def _wanted(accept: str) -> str | None:
    """The first of our other forms that `Accept` names before JSON or anything at all."""
    for named in accept.split(","):
        kind, _, quality = (part.strip().lower() for part in named.partition(";"))
        if quality in ("q=0", "q=0.0"):
            continue
        if kind in FORMATS:
            return kind
        if kind in ("application/json", "*/*"):
            break
    return None


def _check_filter(where: Filter) -> None:
    """Raise RequestMalformed for a condition that no case can meet."""
    if where.section:
        raise RequestMalformed(
            "filter.section: only passages have a section, and a report is made of whole cases. "
            "Leave it out, or search passages with /retrieve."
        )


def _seconds(wired: Services) -> float:
    """Time that a report may take; a language model's comes on top."""
    writer = wired.reporter.language_model
    return wired.settings.deadline_s + (wired.settings.llm_timeout_s if writer else 0)


def _encode(wired: Services, uploads: Sequence[Upload], deadline: Deadline) -> list[EncodedImage]:
    """All views of the study; a view that cannot be read fails the request."""
    return [wired.encoder.image(raised(upload.data), deadline) for upload in uploads]


async def _streamed(
    request: Request,
    wired: Services,
    images: list[EncodedImage],
    asked: ReportRequest,
    deadline: Deadline,
) -> AsyncIterator[str]:
    """The events, each made off the event loop; a client that leaves cancels the deadline."""
    events = _server_sent(wired, images, asked, deadline, request.state.request_id)
    try:
        while event := await work(request, deadline, _next, events):
            yield event
    finally:
        deadline.cancel()


def _next(events: Iterator[str]) -> str | None:
    return next(events, None)


def _server_sent(
    wired: Services,
    images: list[EncodedImage],
    asked: ReportRequest,
    deadline: Deadline,
    request_id: str,
) -> Iterator[str]:
    """`evidence`, then `sentence` (already grounded), then `report`; or `error`."""
    try:
        for event in wired.reporter.events(images, asked, deadline):
            if isinstance(event, Report):
                yield _event("report", _shape(wired, event))
            elif isinstance(event, Sentence):
                yield _event("sentence", _sentence(event))
            else:
                yield _text_event("evidence", _EVIDENCE.dump_json(_evidence(event)).decode())
    except EclipError as error:
        yield _text_event("error", TypeAdapter(dict[str, str]).dump_json(describe(error)).decode())
    except Exception as error:  # the answer has begun: a defect can only be told inside it
        yield _text_event("error", bytes(unexpected(request_id, error).body).decode())


def _event(name: str, answer: BaseModel) -> str:
    return _text_event(name, answer.model_dump_json())


def _text_event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"


def _shape(wired: Services, report: Report) -> GeneratedReport:
    return GeneratedReport(
        bundle=BundleName.of(wired.bundle),
        report=ReportOut(
            findings=[_sentence(sentence) for sentence in report.findings],
            impression=[_sentence(sentence) for sentence in report.impression],
        ),
        withheld=[_sentence(sentence) for sentence in report.withheld],
        evidence=_evidence(report.evidence),
        prior=list(report.prior),
        classification=[FindingOut.model_validate(f) for f in report.classification],
        generator=GeneratorOut.model_validate(report.generator),
        provenance=ProvenanceOut.model_validate(report.provenance),
        abstained=report.abstained,
    )


def _sentence(sentence: Sentence) -> SentenceOut:
    return SentenceOut(
        sentence=sentence.text,
        evidence=list(sentence.evidence),
        support=sentence.support,
        status=sentence.status,
        against=list(sentence.against),
        zero_shot=sentence.zero_shot,
    )


def _evidence(evidence: Sequence[Evidence]) -> list[EvidenceOut]:
    return [EvidenceOut.model_validate(item) for item in evidence]
