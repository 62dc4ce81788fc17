import json
from importlib.metadata import version

from tests.contract.openapi_golden import GOLDEN, document


def test_the_contract_is_the_golden_one():
    """After an intended change, `make openapi` rewrites the file and the diff shows it."""
    assert document() == GOLDEN.read_text(encoding="utf-8")


def test_the_contract_is_served(client):
    served = client.get("/openapi.json").json()
    assert served["info"].pop("version") == version("eclip-radiology")
    golden = json.loads(document())
    del golden["info"]["version"]
    assert served == golden


def test_every_operation_may_answer_with_a_problem(client):
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            assert "422" not in operation["responses"], (method, path)
            assert "application/problem+json" in operation["responses"]["default"]["content"]
