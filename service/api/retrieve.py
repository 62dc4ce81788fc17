"""Answers POST /retrieve: finds stored images, reports and passages by an image or a text."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field

from service.api.answers import Answer, BundleName
from service.api.context import Wired, Work
from service.api.inputs import AsJson, one_image, read_input
from service.api.parameters import Parameters
from service.api.selection import Exclude, Filter
from service.auth import reader
from service.cases.library import Query
from service.cases.own_ids import Origin, OwnIds, own_ids
from service.cases.schema import NOBODY, Hit, Metadata, Part
from service.cases.search import DEFAULT_HITS, Mode, SearchRequest, check_k, search
from service.deadline import Deadline

router = APIRouter(tags=["retrieve"], dependencies=[reader])


class RetrieveParameters(Parameters):
    """Parameters of /retrieve."""

    text: str | None = None
    """The text to search by, if no image is sent."""
    target: Part = "report"
    """What to find."""
    mode: Mode = "dense"
    """dense ranks by meaning, sparse by the text's words (BM25), hybrid by both (rank fusion)."""
    k: Annotated[int, Field(ge=1)] = DEFAULT_HITS
    """Number of hits."""
    offset: Annotated[int | None, Field(ge=0)] = None
    """Number of hits to skip, for pages: 0 for the first page, then k, 2 k …"""
    diversity: Annotated[float | None, Field(gt=0, le=1)] = None
    """How much to prefer hits that differ from each other (MMR). Only in dense mode."""
    filter: Annotated[Filter, AsJson] = Filter()
    exclude: Annotated[Exclude, AsJson] = Exclude()
    group_by: Annotated[str | None, Field(pattern="^study$")] = None
    """`study` returns each study once, with its best hit."""
    min_score: Annotated[float | None, Field(ge=-1, le=1)] = None
    """The least cosine of a hit. Only in dense mode."""

    def query(self) -> Query:
        """Returns the parameters in the case library's form."""
        return Query(
            target=self.target,
            k=self.k,
            offset=self.offset,
            diversity=self.diversity,
            where=self.filter.where(),
            exclude=NOBODY,  # `search` replaces it
            min_score=self.min_score,
            group_by_study=self.group_by is not None,
        )


class HitOut(Answer):
    """A part of a stored study that the search found."""

    score: float
    """The cosine; in sparse mode BM25, in hybrid mode the fused rank score."""
    part: Part
    study_id: str
    """Reference of the study: a keyed hash of the caller's id."""
    text: str | None
    passage_id: str | None
    section: str | None
    view: str | None
    source: str
    findings: list[str]
    metadata: Metadata
    image_url: str | None

    @classmethod
    def of(cls, hit: Hit) -> "HitOut":
        """Returns the hit with the address of its image."""
        index = hit.image_index
        url = None if index is None else f"/studies/{hit.study_id}/image?index={index}"
        fields = {name: getattr(hit, name) for name in cls.model_fields if name != "image_url"}
        return cls(**fields | {"findings": list(hit.findings), "image_url": url})


class Retrieval(Answer):
    """Answer of /retrieve, best hits first."""

    bundle: BundleName
    hits: list[HitOut]
    abstained: bool
    """True when there are no hits."""
    patient_id_from: Origin | None
    """Who named the patient whose cases are left out: `exclude` of the request, or the PatientID
    of the DICOM file that is searched by; null if nobody did."""
    study_id_from: Origin | None
    """Who named the study that is left out, likewise by `exclude` or the StudyInstanceUID."""


@router.post("/retrieve")
async def retrieve(request: Request, wired: Wired) -> Retrieval:
    """Returns the stored images, reports or passages that are nearest to one image or one text.

    Leaves out whom `exclude` names, or else whom a DICOM file names as its own.
    """
    uploads, parameters = await read_input(request, RetrieveParameters, max_images=1)
    check_k(parameters.k, wired.settings.max_k)
    image = one_image(uploads) if uploads else None
    exclude = parameters.exclude
    work = Work(request)
    ids = await work.run(_own_ids, image, exclude)
    wanted = SearchRequest(
        parameters.query(),
        image=image,
        text=parameters.text,
        mode=parameters.mode,
        patient_id=ids.patient_id,
        study_id=ids.study_id,
    )
    hits = await work.run(search, wired.library, wired.encoder, wanted)
    return Retrieval(
        bundle=BundleName.of(wired.bundle),
        hits=[HitOut.of(hit) for hit in hits],
        abstained=not hits,
        patient_id_from=ids.patient_id_from,
        study_id_from=ids.study_id_from,
    )


def _own_ids(image: bytes | None, exclude: Exclude, _: Deadline) -> OwnIds:
    return own_ids([] if image is None else [image], exclude.patient_id, exclude.study_id)
