"""A deletion is carried through, and its request is answered within the deadline."""

import threading
from dataclasses import replace

import pytest

from tests.support.server import in_process

STUDY = {"report": "Effusion.", "patient_id": "p1"}


@pytest.fixture
def hasty(writable):
    """A client of the same library whose requests have a short time."""
    services = writable.app.state.services
    settings = services.settings.model_copy(update={"deadline_s": 0.3})
    return in_process(settings, replace(services, settings=settings, unfinished=set()))


@pytest.fixture
def held(writable, monkeypatch):
    """Holds deletions back until the first event is set; the second tells that one has ended."""
    library = writable.app.state.services.library
    go, ended = threading.Event(), threading.Event()

    def holding(delete):
        def delete_later(identifier):
            go.wait(30)
            removed = delete(identifier)
            ended.set()
            return removed

        return delete_later

    for name in ("delete", "delete_patient"):
        monkeypatch.setattr(library, name, holding(getattr(library, name)))
    yield go, ended
    go.set()


@pytest.mark.parametrize("path", ["/studies/s1", "/patients/p1"])
def test_one_that_takes_longer_is_answered_in_time_and_goes_on(
    writable, hasty, held, problem, path
):
    go, ended = held
    assert writable.put("/studies/s1", json=STUDY).status_code == 200
    with hasty:
        members = problem(hasty.delete(path), 504, "deadline/exceeded")
        assert "goes on" in members["detail"]
        assert writable.get("/studies/s1").status_code == 200
        go.set()
        assert ended.wait(30)
    problem(writable.get("/studies/s1"), 404, "study/unknown")


def test_the_servers_end_waits_for_it(writable, hasty, held):
    go, ended = held
    assert writable.put("/studies/s1", json=STUDY).status_code == 200
    with hasty:
        hasty.delete("/studies/s1")
        threading.Timer(0.2, go.set).start()
    assert ended.is_set()


def test_a_request_that_is_refused_deletes_nothing(writable, problem):
    assert writable.put("/studies/s1", json=STUDY).status_code == 200
    compressed = {"content-encoding": "gzip"}
    refused = writable.request("DELETE", "/studies/s1", content=b"x", headers=compressed)
    problem(refused, 400, "request/malformed")
    assert writable.get("/studies/s1").status_code == 200
