"""The Qdrant server behind qdrant-client: whom it refuses, and what an outage looks like."""

import socket

import httpx
import pytest
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from service.cases.schema import CaseFilter, Exclusion, Search
from service.cases.server import connect
from service.cases.server_layout import CollectionLayout
from service.errors import BundleMismatch, StoreUnavailable

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:service")  # qdrant's local mode
ANYTHING = {"where": CaseFilter(), "exclude": Exclusion()}


@pytest.fixture
def client():
    client = QdrantClient(":memory:")
    yield client
    client.close()


@pytest.fixture
def silent():
    """A socket that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def silent_port(silent):
    return silent.getsockname()[1]


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def client_of(port, *, prefer_grpc):
    return QdrantClient(
        url=f"http://127.0.0.1:{port}",
        grpc_port=port,
        prefer_grpc=prefer_grpc,
        timeout=1,
        check_compatibility=False,
    )


def test_a_collection_is_opened_again_with_what_it_held(client, open_server, study):
    open_server(client).put([study("s")])
    assert open_server(client).get("s") == study("s").study


def test_the_collection_of_another_bundle_is_refused(client, open_server):
    open_server(client)
    with pytest.raises(BundleMismatch, match="bundle bbbbbbbbbbbb, not cccccccccccc"):
        open_server(client, bundle_id="c" * 64)


def test_the_collection_of_another_hash_key_is_refused(client, open_server):
    open_server(client)
    with pytest.raises(BundleMismatch, match="hash key"):
        open_server(client, key_fingerprint="other")


def test_a_collection_of_someone_else_is_refused_and_left_alone(client, open_server):
    client.create_collection("cases", vectors_config={})
    with pytest.raises(BundleMismatch, match="Another program made this collection"):
        open_server(client)
    assert client.get_collection("cases").payload_schema == {}


def test_a_collection_exchanged_under_a_running_server_fails_the_check(client, open_server):
    store = open_server(client)
    client.delete_collection("cases")
    open_server(client, bundle_id="c" * 64)
    with pytest.raises(BundleMismatch):
        store.check()


def test_a_replica_that_made_the_collection_first_is_no_error(client, open_server, monkeypatch):
    open_server(client)
    answers = iter([False, True])
    monkeypatch.setattr(client, "collection_exists", lambda _: next(answers))

    def conflict(*_, **__):
        raise UnexpectedResponse(409, "Conflict", b"", httpx.Headers())

    monkeypatch.setattr(client, "create_collection", conflict)
    assert open_server(client).count() == 0


@pytest.fixture
def creation(client, monkeypatch):
    """The arguments with which the client makes a collection."""
    creation = {}
    create = client.create_collection
    monkeypatch.setattr(
        client, "create_collection", lambda name, **how: creation.update(how) or create(name, **how)
    )
    return creation


def test_a_collection_is_made_with_its_layout(client, open_server, creation, vector):
    layout = CollectionLayout(
        shards=6,
        replicas=2,
        write_consistency_factor=2,
        on_disk=True,
        number="float16",
        quantization="scalar",
    )
    store = open_server(client, layout=layout)
    names = ("shard_number", "replication_factor", "write_consistency_factor")
    assert [creation[name] for name in names] == [6, 2, 2]
    assert {params.on_disk for params in creation["vectors_config"].values()} == {True}
    assert {params.datatype for params in creation["vectors_config"].values()} == {"float16"}
    assert creation["quantization_config"].scalar.type == "int8"
    assert store.search(Search("report", vector("any")), k=1, **ANYTHING) == []


def test_without_a_layout_a_server_uses_its_own_defaults(client, open_server, creation):
    open_server(client)
    assert {creation[name] for name in creation if name.endswith(("number", "factor"))} == {None}
    assert creation["quantization_config"] is None


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("applied", [0, 1, 2, 3])
def test_a_write_cut_short_never_leaves_a_digest_for_a_half_study(
    client, open_server, study, monkeypatch, applied, version
):
    store = open_server(client)
    if version == 2:
        store.put([study("s", version=1)])
    write = client.batch_update_points

    def cut_short(collection, operations, **options):
        write(collection, operations[:applied], **options)
        raise ResponseHandlingException(ConnectionResetError())

    monkeypatch.setattr(client, "batch_update_points", cut_short)
    with pytest.raises(StoreUnavailable):
        store.put([study("s", version=version, sections=("findings",))])
    kept = version == 2 and applied == 0
    assert store.digests(["s"]) == ({"s": "digest of s/1"} if kept else {})

    monkeypatch.setattr(client, "batch_update_points", write)
    whole = study("s", version=version, sections=("findings",))
    store.put([whole])
    assert store.get("s") == whole.study
    assert client.count("cases").count == 4


def test_a_server_over_its_rate_says_when_to_come_back(client, open_server, monkeypatch, vector):
    store = open_server(client)

    def exhausted(*_, **__):
        raise ResourceExhaustedResponse("slow down", 7)

    monkeypatch.setattr(client, "query_points", exhausted)
    with pytest.raises(StoreUnavailable) as refused:
        store.search(Search("passage", vector("any")), k=1, **ANYTHING)
    assert refused.value.retry_after_s == 7


@pytest.mark.parametrize("prefer_grpc", [True, False], ids=["grpc", "rest"])
@pytest.mark.parametrize("port", ["closed_port", "silent_port"])
def test_a_server_that_does_not_answer_is_unavailable(request, open_server, port, prefer_grpc):
    """The silent one never ends a request: only the client's timeout does."""
    client = client_of(request.getfixturevalue(port), prefer_grpc=prefer_grpc)
    with pytest.raises(StoreUnavailable, match="does not answer") as refused:
        open_server(client)
    assert refused.value.retry_after_s
    client.close()


def test_a_client_is_made_without_a_connection(silent, silent_port):
    connect(f"http://127.0.0.1:{silent_port}", timeout_s=1).close()
    silent.setblocking(False)
    with pytest.raises(BlockingIOError):
        silent.accept()
