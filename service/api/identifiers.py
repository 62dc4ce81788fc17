"""Reads ids from paths, with slashes, whether a client or a proxy sends these as `/` or as `%2F`.

Importing this module registers the path convertors `study_id` and `patient_id`. A path that ends in
`/image` is of an image, never of a study.
"""

from typing import Annotated

from fastapi import Path
from starlette.convertors import Convertor, register_url_convertor

from service.identifiers import RULE, Identifier

_MEANING = f"The caller's own id, or a reference. {RULE}."
StudyId = Annotated[Identifier, Path(description=_MEANING)]
PatientId = Annotated[Identifier, Path(description=_MEANING)]


class _Rest(Convertor[str]):
    """Takes the rest of a path, so that `Identifier` sees and judges every id."""

    regex = "(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _RestButAnImage(_Rest):
    """Takes the rest of a path that is not the path of an image. A study may be named `image`."""

    regex = f"(?:image|{_Rest.regex}(?<!/image))"


register_url_convertor("patient_id", _Rest())
register_url_convertor("study_id", _RestButAnImage())
