"""Searches the case library by an image or a text: by meaning, by words, or by both.

The HTTP API and the command line use the same search with the same checks.
"""

from dataclasses import dataclass, replace
from typing import Literal

from service.cases.library import DEPTH, CaseLibrary, Query
from service.cases.schema import Hit, Vector
from service.deadline import Deadline
from service.errors import RequestMalformed
from service.inference.encoder import Encoder

Mode = Literal["dense", "sparse", "hybrid"]
"""dense ranks by meaning, sparse by a text's words (BM25), hybrid by both (rank fusion)."""
DEFAULT_HITS = 10
"""Hits that a search returns when the caller names no number."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What to search for: one image or one text, how to rank, and which parts to return.

    `search` sets the query's `words`, `vector_of` and `exclude`, the last from `patient_id` and
    `study_id`.
    Raises RequestMalformed when the parts contradict each other.
    """

    query: Query
    image: bytes | None = None
    text: str | None = None
    mode: Mode = "dense"
    patient_id: str | None = None
    study_id: str | None = None
    """The caller's own ids of the patient and the study whose cases to leave out."""

    def __post_init__(self) -> None:
        query = self.query
        if (self.image is None) == (self.text is None):
            raise RequestMalformed("Send either one image or `text`.")
        if self.mode != "dense":
            if self.text is None or query.target == "image":
                raise RequestMalformed(
                    f"mode: {self.mode} compares words, and images have none. Search reports or "
                    "passages by a text, or use the mode dense."
                )
            if query.min_score is not None or query.diversity is not None:
                raise RequestMalformed("min_score and diversity work only in the mode dense.")
        if (query.offset or 0) + query.k > DEPTH:
            raise RequestMalformed(f"offset + k is over the limit of {DEPTH}. Ask for less.")
        if query.diversity is not None and (query.group_by_study or query.offset is not None):
            raise RequestMalformed("diversity works neither with group_by nor with offset.")


def search(
    library: CaseLibrary, encoder: Encoder, wanted: SearchRequest, deadline: Deadline
) -> list[Hit]:
    """Returns the best hits first. Raises what is wrong with the image or the text.

    Raises TextUnavailable if texts would be compared by a vector that the bundle does not give.
    """
    if wanted.query.target != "image" and wanted.mode != "sparse":
        encoder.bundle.manifest.require_text()
    query = replace(
        wanted.query,
        words=None if wanted.mode == "dense" else wanted.text,
        vector_of="text" if wanted.image is None else "image",
        exclude=library.exclusion(wanted.patient_id, wanted.study_id),
    )
    return library.search(_vector(encoder, wanted, deadline), query)


def check_k(k: int, max_k: int) -> None:
    """Raises RequestMalformed when k is over the setting `max_k`."""
    if k > max_k:
        raise RequestMalformed(f"k: {k} is over the limit of {max_k}. Ask for fewer.")


def _vector(encoder: Encoder, wanted: SearchRequest, deadline: Deadline) -> Vector | None:
    if wanted.image is not None:
        return encoder.image(wanted.image, deadline).vector
    texts = [wanted.text or ""]
    if wanted.mode == "sparse":
        encoder.check_texts(texts)
        return None
    return encoder.texts(texts, deadline)[0].vector
