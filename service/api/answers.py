"""Holds the parts that several endpoints' answers share, such as vectors and failed items."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from service.api.problems import describe
from service.arrays import FloatArray
from service.bundle.golden import pack_vector
from service.bundle.manifest import Bundle
from service.errors import AllItemsFailed, EclipError

RETRYABLE = frozenset({429, 503, 504})
"""HTTP statuses for which the service is to blame: the same request may succeed later."""
Encoding = Literal["float", "base64"]
Vector = Annotated[
    list[float] | str,
    Field(
        description="float32[D] of unit length: a list of numbers, or with `encoding=base64` the "
        "base64 of its little-endian bytes"
    ),
]
OutcomeT = TypeVar("OutcomeT")
ItemT = TypeVar("ItemT", bound=BaseModel)


class Answer(BaseModel):
    """Base of every answer. Reads dataclasses by attribute."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)


class BundleName(Answer):
    """The bundle that made the vectors."""

    name: str
    version: str
    id: str

    @classmethod
    def of(cls, bundle: Bundle) -> "BundleName":
        """Returns the name, version and id of the bundle."""
        return cls.model_validate(bundle.manifest)


class FindingOut(Answer):
    """What the zero-shot classifier says about one label on one image."""

    label: str
    similarity: float
    """Cosine of the image and the prompts for presence."""
    probability: float | None
    """Calibrated if `calibrated` is true, else the model's own; null where the bundle's scoring is
    softmax and the label has no prompts for absence."""
    calibrated: bool
    abstained: bool
    """True when the calibrated probability is too near to call."""


class ItemError(Answer):
    """The reason why one item of a batch failed."""

    type: str
    """Stable URN, such as `urn:eclip:image/undecodable`."""
    title: str
    detail: str
    """What was wrong and what to do."""


class FailedItem(Answer):
    """An item of a batch that failed. The other items are answered as usual."""

    index: int
    """Place in the request, from 0."""
    id: str | None = None
    """The caller's id of the item."""
    error: ItemError

    @classmethod
    def of(cls, index: int, item_id: str | None, error: EclipError) -> "FailedItem":
        """Returns the item that reports this error."""
        return cls(index=index, id=item_id, error=ItemError(**describe(error)))


def batch_items(
    outcomes: Sequence[OutcomeT | EclipError],
    answered: Callable[[int, OutcomeT], ItemT],
    ids: Sequence[str | None] = (),
) -> list[ItemT | FailedItem]:
    """Returns one item per outcome, in order: `answered(index, outcome)`, or a FailedItem.

    ids: the caller's id of each item, if items have ids. Raises AllItemsFailed when every item
    failed. Raises the error itself when there is only one, or when the service is to blame.
    """
    errors = [outcome for outcome in outcomes if isinstance(outcome, EclipError)]
    items = [
        FailedItem.of(index, ids[index] if ids else None, outcome)
        if isinstance(outcome, EclipError)
        else answered(index, outcome)
        for index, outcome in enumerate(outcomes)
    ]
    if len(errors) < len(items) or not errors:
        return items
    if len(errors) == 1 or all(error.status in RETRYABLE for error in errors):
        raise errors[0]
    failed = AllItemsFailed(
        f"None of the {len(items)} items could be processed. `items` gives the reason for each."
    )
    failed.extensions["items"] = [item.model_dump(mode="json") for item in items]
    raise failed


def encoded_vector(vector: FloatArray, encoding: Encoding) -> list[float] | str:
    """Returns the float32[D] in the encoding that the caller asked for."""
    if encoding == "base64":
        return pack_vector(vector)
    floats: list[float] = vector.tolist()
    return floats
