"""Aliases of a Qdrant server, on qdrant-client's own engine."""

import grpc
import pytest
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import UnexpectedResponse

from service.cases.aliases import collection_behind, point
from service.cases.places import open_existing
from service.errors import SettingInvalid, StoreUnavailable

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:service")  # qdrant's local mode


@pytest.fixture
def client():
    client = QdrantClient(":memory:")
    for name in ("one", "two"):
        client.create_collection(name, vectors_config={})
    yield client
    client.close()


class Denied(grpc.RpcError):
    def code(self):
        return grpc.StatusCode.PERMISSION_DENIED


def test_a_name_that_is_no_alias_is_a_collection_s(client):
    assert collection_behind(client, "one") == "one"
    assert collection_behind(client, "not there") == "not there"


def test_an_alias_is_pointed_and_moved(client):
    for collection in ("one", "two"):
        point(client, "library", collection)
        assert collection_behind(client, "library") == collection


def test_a_collection_s_name_is_refused_as_an_alias(client):
    with pytest.raises(SettingInvalid, match="Set ECLIP_COLLECTION to a new name"):
        point(client, "one", "two")
    assert collection_behind(client, "one") == "one"


@pytest.mark.parametrize("error", [Denied(), UnexpectedResponse(403, "Forbidden", b"", None)])
def test_a_key_that_sees_no_aliases_names_a_collection(client, monkeypatch, error):
    def denied():
        raise error

    monkeypatch.setattr(client, "get_aliases", denied)
    assert collection_behind(client, "one") == "one"


def test_a_server_that_does_not_answer_is_said(client, monkeypatch):
    def failed():
        raise UnexpectedResponse(500, "Error", b"", None)

    monkeypatch.setattr(client, "get_aliases", failed)
    with pytest.raises(StoreUnavailable):
        collection_behind(client, "one")


def test_a_library_is_opened_by_its_alias_with_the_images_of_its_collection(
    tmp_path, open_server, study
):
    client = QdrantClient(":memory:")
    open_server(client).put([study("s")])
    point(client, "library", "cases")
    with open_existing("library", tmp_path, lambda: client) as (store, renditions):
        assert store.get("s") == study("s").study
        assert renditions.folder == tmp_path / "renditions" / "cases"
