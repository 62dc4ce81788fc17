from tests.contract.openapi_golden import GOLDEN, document

ENDPOINTS = {
    "/embed/image": {"post"},
    "/embed/text": {"post"},
    "/classify": {"post"},
    "/retrieve": {"post"},
    "/generate-report": {"post"},
    "/studies": {"get", "post"},
    "/patients/{patient_id}": {"delete"},
    "/studies/{study_id}": {"put", "get", "delete"},
    "/studies/{study_id}/image": {"get"},
    "/attention": {"post"},
    "/v1/embeddings": {"post"},
    "/bundle": {"get"},
    "/health/live": {"get"},
    "/health/ready": {"get"},
    "/metrics": {"get"},
}


def test_the_contract_is_the_golden_one():
    """A change that was meant is written with `make openapi`, and shows in the diff."""
    assert document() == GOLDEN.read_text(encoding="utf-8")


def test_every_endpoint_of_the_contract_is_served(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {path: set(operations) for path, operations in paths.items()} == ENDPOINTS


def test_every_operation_may_answer_with_a_problem(client):
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            assert "422" not in operation["responses"], (method, path)
            assert "application/problem+json" in operation["responses"]["default"]["content"]
