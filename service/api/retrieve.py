"""POST /retrieve: cross-modal search in the case library."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from service.api.context import Services, Wired, work
from service.api.inputs import AsJson, Parameters, Upload, one_image, read_input
from service.api.schemas import BundleName, HitOut, Retrieval
from service.auth import reader
from service.cases.library import DEPTH, Query
from service.cases.records import Identifier
from service.cases.schema import CaseFilter, Hit, Part
from service.deadline import Deadline
from service.errors import RequestMalformed

router = APIRouter(tags=["retrieve"], dependencies=[reader])
AnyOf = Annotated[tuple[str, ...], Field(max_length=64, fail_fast=True)]


class Filter(BaseModel):
    """Conditions that a hit must meet, all of them; each is any-of."""

    model_config = ConfigDict(extra="forbid")

    source: AnyOf = ()
    view: AnyOf = ()
    findings: AnyOf = ()
    section: AnyOf = ()

    def where(self) -> CaseFilter:
        """As the case library takes it."""
        return CaseFilter(self.source, self.view, self.findings, self.section)


class Exclude(BaseModel):
    """Whose cases must not come back, by the caller's own ids."""

    model_config = ConfigDict(extra="forbid")

    patient_id: Identifier | None = None
    study_id: Identifier | None = None


class RetrieveParameters(Parameters):
    """Parameters of /retrieve."""

    text: str | None = None
    target: Part = "report"
    mode: Annotated[
        Literal["dense", "sparse", "hybrid"],
        Field(description="Rank by meaning, by a text's words (BM25), or by both (rank fusion)."),
    ] = "dense"
    k: Annotated[int, Field(ge=1)] = 10
    offset: Annotated[
        int | None,
        Field(ge=0, description="For pages: hits passed over, 0 for the first. None: no pages."),
    ] = None
    diversity: Annotated[
        float | None,
        Field(gt=0, le=1, description="Prefer hits unlike each other (MMR); dense mode alone."),
    ] = None
    filter: Annotated[Filter, AsJson] = Filter()
    exclude: Annotated[Exclude, AsJson] = Exclude()
    group_by: Annotated[str | None, Field(pattern="^study$")] = None
    min_score: Annotated[
        float | None, Field(ge=-1, le=1, description="A cosine; dense mode alone.")
    ] = None

    def check(self) -> None:
        """Raise RequestMalformed for parameters that contradict each other."""
        if self.mode != "dense":
            if self.text is None or self.target == "image":
                raise RequestMalformed(f"mode: {self.mode} compares the words of texts alone.")
            if self.min_score is not None or self.diversity is not None:
                raise RequestMalformed("min_score and diversity are of the dense mode alone.")
        if (self.offset or 0) + self.k > DEPTH:
            raise RequestMalformed(f"offset + k is over the bound of {DEPTH}.")
        if self.diversity is not None and (self.group_by is not None or self.offset is not None):
            raise RequestMalformed("diversity can be combined with neither group_by nor offset.")


@router.post("/retrieve")
async def retrieve(request: Request, wired: Wired) -> Retrieval:
    """The stored images, reports or passages nearest to one image or one text."""
    uploads, parameters = await read_input(request, RetrieveParameters, max_images=1)
    if bool(uploads) == (parameters.text is not None):
        raise RequestMalformed("Send either one image or `text`, not both and not neither.")
    parameters.check()
    check_k(parameters.k, wired)
    deadline = Deadline(wired.settings.deadline_s)
    hits = await work(request, deadline, _search, wired, uploads, parameters, deadline)
    return Retrieval(
        bundle=BundleName.of(wired.bundle),
        hits=[HitOut.of(hit) for hit in hits],
        abstained=not hits,
    )


def check_k(k: int, wired: Services) -> None:
    """Raise RequestMalformed when k is over the bound."""
    if k > wired.settings.max_k:
        raise RequestMalformed(f"k: {k} is over the bound of {wired.settings.max_k}.")


def _search(
    wired: Services, uploads: list[Upload], parameters: RetrieveParameters, deadline: Deadline
) -> list[Hit]:
    words = parameters.text if parameters.mode != "dense" else None
    if parameters.text is None:
        vector = wired.encoder.image(one_image(uploads), deadline).vector
    elif parameters.mode != "sparse":
        vector = wired.encoder.texts([parameters.text], deadline)[0].vector
    else:
        wired.encoder.check_texts([parameters.text])
        vector = None
    query = Query(
        target=parameters.target,
        k=parameters.k,
        offset=parameters.offset,
        words=words,
        diversity=parameters.diversity,
        where=parameters.filter.where(),
        exclude=wired.library.exclusion(parameters.exclude.patient_id, parameters.exclude.study_id),
        min_score=parameters.min_score,
        group_by_study=parameters.group_by is not None,
    )
    return wired.library.search(vector, query)
