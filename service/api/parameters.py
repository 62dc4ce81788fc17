"""Defines what a parameter is, and sees that none is dropped: each is used, or refused.

A parameter stands in the query string or in the body, and comes once. One that comes twice, that
an endpoint does not take or that is spelt otherwise is an error, in every form of a request. Names
that a caller made up are in no error: they may hold a patient's name.
"""

from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from service.api.problems import malformed
from service.errors import RequestMalformed

MAX_FIELDS = 64
"""Fields of a form or a query string, files not counted."""
MAX_FIELD_BYTES = 4 * 2**20
"""Bytes of all fields of a form, files not counted. Escapes take twenty times as much to decode."""
LONGEST_NAME = 64
"""Characters of an unknown name that are compared with the known ones."""
ALIKE = 0.88
"""Likeness of two names, 0…1, at which one is the other misspelt: too near to hold a patient's."""
Pairs = list[tuple[str, Any]]
"""Names and values of parameters, as they came."""


class Parameters(BaseModel):
    """Base of every endpoint's parameters. Unknown names are refused; null is as if left out."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}


ParametersT = TypeVar("ParametersT", bound=BaseModel)


def query_pairs(request: Request) -> Pairs:
    """Returns the parameters of the query string. Raises RequestMalformed if it is not UTF-8."""
    return parse_pairs(request.scope["query_string"], "query string")


def parse_pairs(encoded: bytes, what: str) -> Pairs:
    """Returns the names and values of URL-encoded text. Raises RequestMalformed.

    what: what the text is, for the error.
    """
    if len(encoded) > MAX_FIELD_BYTES:
        raise RequestMalformed(
            f"The {what} cannot be read: it has more than {MAX_FIELD_BYTES} bytes. Send files in a "
            "form of the type multipart/form-data."
        )
    try:
        return list(
            parse_qsl(
                encoded.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
            )
        )
    except ValueError:
        raise RequestMalformed(
            f"The {what} cannot be read: it is not UTF-8, or has more than {MAX_FIELDS} fields."
        ) from None


def validate_once(model: type[ParametersT], pairs: Pairs) -> ParametersT:
    """Returns the validated parameters. Raises RequestMalformed, also if one comes twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _twice(name for name in model.model_fields if _count(name, pairs) > 1)
    return validate(model, values)


def validate(model: type[ParametersT], values: Any) -> ParametersT:
    """Returns the validated values. Raises RequestMalformed without repeating any input."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        known = known_names(model)
        if first["type"] != "extra_forbidden":
            raise malformed(first, known) from None
        *where, unknown = first["loc"]
        raise malformed(
            first | {"loc": where, "msg": _no_such(str(unknown), known)}, known
        ) from None


@lru_cache
def known_names(model: type[BaseModel]) -> frozenset[str]:
    """Returns the names of a model's parameters and of their members."""
    return frozenset(_properties(model.model_json_schema()))


def _properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from _properties(each)
    elif isinstance(schema, dict):
        yield from schema.get("properties", {})
        for each in schema.values():
            yield from _properties(each)


async def _check_query(request: Request) -> None:
    """Raises RequestMalformed for a query parameter that the endpoint does not take.

    So it does for one that comes twice, unless it is a list, and for a body of GET and DELETE.
    """
    if request.method != "POST" and _has_body(request):
        raise RequestMalformed(
            "The request has a body, which this endpoint does not read. Put parameters into the "
            "query string."
        )
    pairs = query_pairs(request)
    names, lists = set[str](), set[str]()
    for field in request.scope["route"].dependant.query_params:
        kind = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):  # of lists, such as Filter
            lists |= kind.model_fields.keys()
        else:
            names.add(field.alias)
    if unknown := [name for name, _ in pairs if name not in names | lists]:
        raise RequestMalformed(
            f"The query string: {_no_such(unknown[0], names | lists)}. See /docs for what this "
            "endpoint takes."
        )
    if repeated := [name for name in names if _count(name, pairs) > 1]:
        raise _twice(repeated)


declared_query = Depends(_check_query)
"""Refuses what the endpoint does not take, where it reads nothing from a body."""


def _has_body(request: Request) -> bool:
    headers = request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _count(name: str, pairs: Pairs) -> int:
    return sum(each == name for each, _ in pairs)


def _no_such(unknown: str, known: Collection[str]) -> str:
    """Says that a name is unknown. Shows it only where it is a known one, misspelt."""
    short = unknown[:LONGEST_NAME]
    if unknown in known:
        return f"`{unknown}` is a member of another parameter and stands outside of it"
    for near in get_close_matches(short.lower(), known, n=1, cutoff=ALIKE):
        if len(unknown) <= len(near) + 1 and short.isascii() and short.isprintable():
            return f"there is no parameter `{short}`, perhaps `{near}` is meant"
    return "it has a parameter of a name that is not known here"


def _twice(names: Iterable[str]) -> RequestMalformed:
    name = next(iter(names), None)
    return RequestMalformed(
        f"{name or 'The request'}: {'the' if name else 'a'} parameter comes twice, in the query "
        "string, in the body or in both. Send it once."
    )
