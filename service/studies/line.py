"""Defines a study as one line of a manifest, and reads it from JSON or from a table's values.

A value means the same in JSON, CSV and Parquet:

- null and blank text are as good as no value, except that `findings` tells [] from none.
- A whole number is text without its decimals: 7 and 7.0 are the id "7".
- A list may be JSON text, or text with semicolons; `metadata` and `gaze` may be JSON text.
- A field's name may have capitals, blanks or dashes: "Study ID" is `study_id`. The index that
  pandas writes beside the columns is passed over.
"""

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from service.errors import StudyInvalid
from service.identifiers import Identifier
from service.studies.fields import LOCAL, MAX_VIEWS, Facts, Split, Word
from service.studies.gaze import Gaze

_IDS = frozenset({"study_id", "patient_id"})
_TEXTS = _IDS | {"source", "report", "view", "split"}
_LISTS = frozenset({"images", "findings"})
_PARSED = frozenset({"metadata", "gaze"})
ROUNDED = re.compile(r"\d([.,]\d+)?[eE]\+\d+")
"""A number as a spreadsheet shortens it. Example: 5.04E+07, which several ids may become."""
_MISSING = frozenset({"nan", "nat", "none", "null", "<na>"})
"""Texts of a missing value. As ids they would make one patient of many."""
_INDEX = re.compile(r"|unnamed:_\d+|__index_level_\d+__")
"""Names that pandas gives to its index, in CSV and in Parquet."""
_WORD = re.compile(r"\w{1,32}")
"""A field's name that an error may show."""
_EXACT = 2**53
"""Whole numbers below it are exact as floats."""


class StudyLine(BaseModel):
    """A study of a manifest, under the caller's own (plain) ids. Training and service read it.

    images: paths relative to the manifest, or names inside the tar. findings: None if nobody
    labelled the study. gaze: one entry a reader. split: as the data set's authors published it.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, str_strip_whitespace=True
    )

    study_id: Identifier
    patient_id: Identifier | None = None
    source: Word = LOCAL
    images: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1)], ...], Field(max_length=MAX_VIEWS)
    ] = ()
    report: str | None = None
    view: Word | None = None
    findings: Annotated[tuple[Word, ...], Field(max_length=64, fail_fast=True)] | None = None
    gaze: tuple[Gaze, ...] = ()
    split: Split | None = None
    metadata: Facts = {}


def study_of_json(line: bytes) -> StudyLine | StudyInvalid:
    """Returns the study of a line of JSON, or what is wrong with it."""
    try:
        return study_of_values(json_object(line))
    except StudyInvalid as error:
        return error


def study_of_values(
    values: Mapping[str, Any], otherwise: Mapping[str, Any] | None = None
) -> StudyLine | StudyInvalid:
    """Returns the study of a row's values, or what is wrong with the first bad field.

    otherwise: values of fields that the row leaves out.
    """
    try:
        return StudyLine.model_validate({**(otherwise or {}), **plain(values)})
    except ValidationError as error:
        return _invalid(error)
    except StudyInvalid as error:
        return error


def json_object(data: bytes) -> dict[str, Any]:
    """Returns a JSON object. Raises StudyInvalid, without quoting the text."""
    try:
        parsed = _parsed(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise StudyInvalid("The study is not UTF-8 text. Save the file in that encoding.") from None
    except json.JSONDecodeError as error:
        raise StudyInvalid(
            f"The study is not JSON: {error.msg}, at character {error.pos + 1}. Correct it."
        ) from None
    except _Twice as error:
        raise StudyInvalid(str(error)) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or a deep nest
        raise StudyInvalid("The study is not JSON that a study needs. Correct it.") from None
    if not isinstance(parsed, dict):
        raise StudyInvalid("The study is not a JSON object. Write one object for each study.")
    return parsed


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values under the fields' names and in their types, as the module says.

    Raises StudyInvalid, which names the field.
    """
    named: dict[str, Any] = {}
    for name, value in values.items():
        field = field_name(name)
        if field in named:
            raise _wrong(field, "the field comes twice, perhaps in two spellings. Give it once")
        if not _INDEX.fullmatch(field):
            named[field] = value
    texts = ((field, _decoded(field, value)) for field, value in named.items())
    return {
        field: _value(field, value)
        for field, value in texts
        if not (value is None or (isinstance(value, str) and not value.strip()))
    }


@lru_cache(maxsize=256)
def field_name(name: str) -> str:
    """Returns a field's name without the blanks, dashes and capitals of a spreadsheet."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _decoded(field: str, value: Any) -> Any:
    """Returns the text of bytes: older programs write text columns of Parquet without a type."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise _wrong(field, "the text is not UTF-8. Save it in that encoding") from None


def _value(field: str, value: Any) -> Any:
    if field in _IDS:
        return _identifier(field, value)
    if field in _TEXTS:
        return _text(value)
    if field in _LISTS and isinstance(value, str):
        return _list(field, value)
    if field in _PARSED and isinstance(value, str):
        value = _from_json(field, value)
    if field == "metadata" and isinstance(value, Mapping):
        return {key: fact for key, fact in value.items() if fact is not None}
    return value


def _identifier(field: str, value: Any) -> Any:
    text = _text(value)
    if isinstance(text, float | Decimal) or (
        isinstance(text, str) and ROUNDED.fullmatch(text.strip())
    ):
        raise _wrong(field, "the number was rounded or is not whole. Store ids as text")
    if isinstance(text, str) and text.strip().lower() in _MISSING:
        raise _wrong(field, "the text stands for a missing value. Leave the field out")
    return text


def _text(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    if isinstance(value, Decimal) and value == value.to_integral_value():  # exact at any size
        return str(int(value))
    return str(value) if type(value) is int else value


def _list(field: str, text: str) -> Any:
    if text.lstrip().startswith("["):
        return _from_json(field, text)
    return [part.strip() for part in text.split(";") if part.strip()]


def _from_json(field: str, text: str) -> Any:
    try:
        return _parsed(text)
    except _Twice as error:
        raise _wrong(field, str(error)) from None
    except (ValueError, RecursionError):
        raise _wrong(field, "the text is not JSON. Write it as in a studies.jsonl") from None


class _Twice(ValueError):
    """A JSON object that has one key twice."""


def _parsed(text: str) -> Any:
    """Parses JSON. NaN passes here, so that the check of its field can name the field."""
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            known = field_name(key) in StudyLine.model_fields
            raise _Twice(f"{key if known else 'an object'}: a field comes twice. Give it once.")
        found[key] = value
    return found


def _wrong(field: str, what: str) -> StudyInvalid:
    return StudyInvalid(f"{_shown(field)}: {what.rstrip('.')}.")


def _shown(field: str) -> str:
    """Returns a field's name, unless it is longer than a name or no word: then "a field"."""
    return field if _WORD.fullmatch(field) else "a field"


def _invalid(error: ValidationError) -> StudyInvalid:
    first = error.errors(include_input=False, include_url=False)[0]
    loc, what = first["loc"], first["msg"].removeprefix("Value error, ").rstrip(".")
    if first["type"] == "string_unicode":
        what = "The text is not UTF-8. Save it in that encoding"
    elif first["type"] == "extra_forbidden":
        what = "A study has no such field. Leave it out, or put it into `metadata`"
    elif loc[:1] == ("metadata",) and len(loc) > 2:  # the second part is the user's own word
        loc, what = loc[:1], "Each value should be text, a finite number, true or false"
    where = ".".join(_shown(str(part)) for part in loc) or "line"
    return StudyInvalid(f"{where}: {what.replace('a valid tuple', 'a list')}.")
