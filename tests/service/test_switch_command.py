"""`eclip switch`, with qdrant-client's own engine in the server's place."""

import os

import pytest
import structlog
from qdrant_client import QdrantClient
from typer.testing import CliRunner

from service import cli
from service.settings import Settings
from service.wiring import open_services
from tests.support.server import in_process

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:service")  # qdrant's local mode
URL = "http://qdrant:6333"


@pytest.fixture(autouse=True)
def server(monkeypatch):
    """One engine for every client, which nobody closes."""
    client = QdrantClient(":memory:")
    monkeypatch.setattr(client, "close", lambda: None)
    monkeypatch.setattr("service.wiring.connect", lambda *_, **__: client)
    return client


def settings(data_dir, collection):
    return Settings(data_dir=data_dir, qdrant_url=URL, collection=collection)


@pytest.fixture
def switch(tmp_path, monkeypatch):
    monkeypatch.setenv("ECLIP_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ECLIP_QDRANT_URL", URL)
    monkeypatch.setenv("ECLIP_COLLECTION", "library")
    mask = os.umask(0o022)

    def run(name):
        result = CliRunner().invoke(cli.cli, ["switch", name])
        structlog.reset_defaults()  # the runner has closed the stream that it logged to
        return result

    yield run
    os.umask(mask)


def put(data_dir, collection, *studies):
    with in_process(settings(data_dir, collection)) as client:
        for study in studies:
            report = f"Small left effusion. Nodule {study}."
            assert client.put(f"/studies/{study}", json={"report": report}).status_code == 200


def test_servers_meet_the_new_collection_once_they_start_again(tmp_path, switch):
    put(tmp_path, "old", "a", "b")
    put(tmp_path, "new", "a", "b", "c")
    assert switch("old").exit_code == 0
    with open_services(settings(tmp_path, "library")) as running:
        moved = switch("new")
        assert "library stands for new" in moved.output
        assert running.library.store.count() == 2
        running.library.store.check()
    with open_services(settings(tmp_path, "library")) as started:
        assert started.library.store.count() == 3


def test_what_the_new_collection_lacks_is_said(tmp_path, switch):
    put(tmp_path, "old", "a", "b")
    put(tmp_path, "new", "b")
    switch("old")
    said = switch("new").output
    assert "new lacks 1 studies of old" in said
    assert "Bring them by `eclip copy old`: `eclip index` of a PACS passes over those" in said


def test_an_alias_stands_for_what_another_one_stands_for(tmp_path, server, switch, monkeypatch):
    put(tmp_path, "old", "a")
    assert switch("old").exit_code == 0
    assert switch("library").exit_code == 0
    monkeypatch.setenv("ECLIP_COLLECTION", "another")
    assert "another stands for old" in switch("library").output
    assert {each.collection_name for each in server.get_aliases().aliases} == {"old"}


def test_a_collection_that_is_not_there_is_refused(tmp_path, server, switch):
    put(tmp_path, "old", "a")
    switch("old")
    assert "no collection of that name" in str(switch("missing").exception)
    assert server.get_aliases().aliases[0].collection_name == "old"


def test_an_embedded_library_has_no_alias(switch, monkeypatch):
    monkeypatch.delenv("ECLIP_QDRANT_URL")
    assert "Only a Qdrant server has aliases" in str(switch("new").exception)
