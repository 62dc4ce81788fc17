"""Answers POST /generate-report: a report in which every sentence cites its evidence."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field, TypeAdapter
from pydicom.dataset import Dataset

from service.api.accept import negotiate
from service.api.answers import BundleName
from service.api.bodies import held
from service.api.context import Services, Wired, Work
from service.api.inputs import AsJson, raised, read_input, some_images
from service.api.parameters import Parameters
from service.api.problems import describe, unexpected
from service.api.report_answers import EvidenceOut, GeneratedReport, SentenceOut
from service.api.selection import Exclude, Filter
from service.api.streaming import EVENT_STREAM, EventStream, event
from service.auth import asked_by, reader
from service.cases.own_ids import OwnIds, own_ids
from service.cases.search import check_k
from service.deadline import Deadline
from service.errors import EclipError, RequestMalformed
from service.identifiers import Identifier
from service.imaging.content import require_radiographs
from service.inference.encoder import EncodedImage
from service.memory import short
from service.pacs.headers import header_of
from service.reporting.evidence import Evidence, Subject
from service.reporting.formats import FORMATS
from service.reporting.regions import Pointing
from service.reporting.report import DEFAULT_K, LONGEST_NOTE, Report, ReportRequest
from service.reporting.sentences import Sentence
from service.studies.fields import MAX_VIEWS

router = APIRouter(tags=["report"], dependencies=[reader])


class ReportParameters(Parameters):
    """Parameters of /generate-report. All images are views of one study."""

    indication: Annotated[str | None, Field(max_length=LONGEST_NOTE)] = None
    """Reason for the examination. The language model reads it."""
    comparison: Annotated[str | None, Field(max_length=LONGEST_NOTE)] = None
    """Earlier examinations. The language model reads it."""
    prior_study_id: Identifier | None = None
    """An earlier study of the patient. The language model reads its report. Without it, that is the
    latest stored study of the patient that is earlier than the DICOM files."""
    k: Annotated[int, Field(ge=1)] = DEFAULT_K
    """Number of cases whose passages are the evidence."""
    filter: Annotated[Filter, AsJson] = Filter()
    exclude: Annotated[Exclude, AsJson] = Exclude()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the language model."""
    min_score: Annotated[float | None, Field(ge=-1, le=1)] = None
    """The least cosine of a case that may be evidence."""
    diversity: Annotated[float | None, Field(gt=0, le=1)] = None
    """How much to prefer cases that differ from each other over the nearest ones (MMR)."""
    ungrounded: Literal["drop", "flag"] = "drop"
    """What to do with sentences that the evidence does not support: drop withholds them, flag
    leaves them in the report with their status."""
    stream: bool = False
    """Whether the answer is a stream of server-sent events."""
    fallback: Literal["extractive"] | None = None
    """Who writes the report when the language model fails. Null answers with its error."""

    def asked(self, ids: OwnIds, asked_by: str | None) -> ReportRequest:
        """Returns the parameters in the reporting pipeline's form, about whom `ids` name."""
        return ReportRequest(
            k=self.k,
            subject=Subject.of(ids, self.prior_study_id),
            where=self.filter.where(),
            indication=self.indication,
            comparison=self.comparison,
            seed=self.seed,
            min_score=self.min_score,
            diversity=self.diversity,
            fallback=self.fallback,
            ungrounded=self.ungrounded,
            asked_by=asked_by,
        )


_DICOM = "application/dicom"
_KINDS = ("application/json", *FORMATS, _DICOM, EVENT_STREAM)
"""Media types of the answer, the usual one first."""
_EVIDENCE = TypeAdapter(list[EvidenceOut])
_PROBLEM = TypeAdapter(dict[str, str])


@router.post(
    "/generate-report",
    response_model=GeneratedReport,
    responses={200: {"content": {kind: {"schema": {"type": "string"}} for kind in _KINDS[1:]}}},
)
async def generate_report(request: Request, wired: Wired) -> GeneratedReport | Response:
    """Returns findings and impression, written from the nearest cases.

    Evidence comes from nobody whom `exclude` names, or else whom the DICOM files name as their own.

    The answer is JSON, or what `Accept` prefers: text, Markdown, FHIR, a DICOM structured report
    (if the images are DICOM files of one study), or server-sent events. With `stream=true` it is
    the events, whatever `Accept` says.
    """
    most = min(MAX_VIEWS, wired.settings.max_images)
    uploads, parameters = await read_input(request, ReportParameters, most)
    kind = EVENT_STREAM if parameters.stream else _wanted(request)
    wired.bundle.manifest.require_text()
    check_k(parameters.k, wired.settings.max_k)
    _check_filter(parameters.filter)
    views = [raised(upload.data) for upload in some_images(uploads)]
    work = Work(request, items=len(views), seconds=wired.settings.report_s)
    ids = await work.run(_own_ids, views, parameters.exclude)
    headers = await work.run(_headers, views) if kind == _DICOM else []
    images = await work.run(wired.encoder.views, views)
    pointing = await work.run(wired.reporter.pointing, views.__getitem__, images)
    del uploads, views  # a report may take minutes
    held(request).keep(0)
    asked = parameters.asked(ids, asked_by(request))
    if kind == EVENT_STREAM:
        require_radiographs([image.facts for image in images])  # while there is a status to send
        return EventStream(work.iterate(_server_sent, wired, images, asked, pointing, ids, request))
    report = await work.run(partial(wired.reporter.report, pointing=pointing), images, asked)
    if kind in FORMATS:
        return Response(FORMATS[kind](report), media_type=kind)
    if kind == _DICOM:
        return Response(await work.run(_as_dicom, report, headers), media_type=kind)
    return GeneratedReport.of(report, BundleName.of(wired.bundle), ids)


def _own_ids(views: Sequence[bytes], exclude: Exclude, _: Deadline) -> OwnIds:
    return own_ids(views, exclude.patient_id, exclude.study_id)


def _headers(views: Sequence[bytes], _: Deadline) -> list[Dataset]:
    """Returns the headers that a DICOM report repeats. Raises ImageUndecodable or StudyInvalid."""
    from service.pacs.drafts.structured_report import check_one_study  # with highdicom

    headers = [header_of(view) for view in views]
    check_one_study(headers)
    return headers


def _as_dicom(report: Report, headers: Sequence[Dataset], _: Deadline) -> bytes:
    from service.pacs.drafts.structured_report import structured_report  # with highdicom

    return structured_report(report, headers, written=datetime.now().astimezone())


def _wanted(request: Request) -> str:
    """Returns the media type that the client prefers. Raises NotAcceptable."""
    return negotiate(", ".join(request.headers.getlist("accept")), _KINDS)


def _check_filter(where: Filter) -> None:
    """Raises RequestMalformed for a condition that no case can meet."""
    if where.section:
        raise RequestMalformed(
            "filter.section: only passages have a section, and a report uses whole cases. "
            "Leave it out, or search passages with /retrieve."
        )


def _server_sent(
    wired: Services,
    images: Sequence[EncodedImage],
    asked: ReportRequest,
    pointing: Pointing | None,
    ids: OwnIds,
    request: Request,
    deadline: Deadline,
) -> Iterator[str]:
    """Yields `evidence`, then each checked `sentence`, then `report`; or `error` at the end."""
    try:
        for made in wired.reporter.events(images, asked, deadline, pointing):
            if isinstance(made, Report):
                report = GeneratedReport.of(made, BundleName.of(wired.bundle), ids)
                yield event("report", report.model_dump_json())
            elif isinstance(made, Sentence):
                yield event("sentence", SentenceOut.of(made).model_dump_json())
            else:
                yield event("evidence", _evidence_json(made))
    except EclipError as error:
        yield event("error", _PROBLEM.dump_json(describe(error)).decode())
    except MemoryError:
        yield event("error", _PROBLEM.dump_json(describe(short())).decode())
    except Exception as error:  # the answer has begun: only an event can report a defect now
        yield event("error", bytes(unexpected(request.scope, error).body).decode())


def _evidence_json(evidence: Sequence[Evidence]) -> str:
    return _EVIDENCE.dump_json([EvidenceOut.model_validate(item) for item in evidence]).decode()
