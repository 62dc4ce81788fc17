"""Schemathesis reads the contract and sends requests that it allows and that it forbids."""

import json
import shutil

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
)

from tests.contract.openapi_golden import GOLDEN

pytestmark = pytest.mark.slow
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]


@schemathesis.serializer("application/dicom", "multipart/related")
def dicom(_, value):
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@schemathesis.serializer("application/x-ndjson")
def lines(_, value):
    return json.dumps(value).encode()


contract = schemathesis.openapi.from_path(GOLDEN)


@pytest.fixture(scope="module")
def url(serve, demo_index, tmp_path_factory):
    """A server with a demo library of its own, which the requests may spoil."""
    with serve(shutil.copytree(demo_index, tmp_path_factory.mktemp("fuzz") / "var")) as server:
        yield server.url


@contract.parametrize()
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_no_request_breaks_the_service_or_the_contract(case, url):
    case.call_and_validate(base_url=url, checks=CHECKS)
