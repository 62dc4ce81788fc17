import os
import shutil
import threading
from dataclasses import replace
from unittest.mock import Mock

import pytest

from service.errors import StoreUnavailable
from service.settings import DEMO_BUNDLE, Settings
from tests.conftest import in_process


def test_a_running_service_is_live_and_ready(client):
    assert client.get("/health/live").json() == {"status": "live"}
    ready = client.get("/health/ready")
    assert ready.status_code == 200
    parts = ("bundle", "workers", "store", "disk", "renditions", "audit")
    assert ready.json() == {"status": "ready", "parts": dict.fromkeys(parts, "ready")}


def test_a_store_that_does_not_answer_is_not_ready_and_still_live(writable, monkeypatch):
    def check():
        raise StoreUnavailable("The store is away.")

    monkeypatch.setattr(writable.app.state.services.library.store, "check", check)
    ready = writable.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json()["parts"]["store"] == "The store is away."
    assert ready.json()["parts"]["workers"] == "ready"
    assert writable.get("/health/live").status_code == 200


@pytest.fixture
def sealed():
    """Takes the right to write away from a folder and what is in it, until the test ends."""
    taken = []

    def seal(folder):
        for each in (*folder.rglob("*"), folder):
            taken.append((each, each.stat().st_mode))
            each.chmod(0o500 if each.is_dir() else 0o400)
        if os.access(folder, os.W_OK):
            pytest.skip("the superuser may write everywhere")

    yield seal
    for each, mode in reversed(taken):
        each.chmod(mode)


@pytest.mark.parametrize("name", ["audit", "renditions", "studies"])
def test_a_directory_that_cannot_be_written_is_not_ready(writable, radiograph, sealed, name):
    data = {"report": "FINDINGS: Nodule."}
    assert writable.put("/studies/s", files={"files": radiograph}, data=data).status_code == 200
    writable.post("/generate-report", files={"files": radiograph})
    sealed(writable.app.state.services.settings.data_dir / name)
    ready = writable.get("/health/ready")
    assert ready.status_code == 503
    part = {"studies": "store"}.get(name, name)
    assert "Permission denied" in ready.json()["parts"][part]


@pytest.mark.parametrize("name", ["audit", "renditions"])
def test_a_directory_with_a_file_in_its_place_is_not_ready_and_a_typed_error(
    writable, radiograph, problem, name
):
    data_dir = writable.app.state.services.settings.data_dir
    shutil.rmtree(data_dir / name, ignore_errors=True)
    (data_dir / name).touch()
    ready = writable.get("/health/ready")
    assert ready.status_code == 503
    assert "Not a directory" in ready.json()["parts"][name] or "File exists" in ready.text
    if name == "renditions":
        answer = writable.put("/studies/s", files={"files": radiograph})
    else:
        answer = writable.post("/generate-report", files={"files": radiograph})
    problem(answer, 503, "store/unavailable")


def test_missing_renditions_are_not_ready_and_a_typed_error(writable, radiograph, problem):
    assert writable.put("/studies/s", files={"files": radiograph}).status_code == 200
    data_dir = writable.app.state.services.settings.data_dir
    shutil.rmtree(data_dir / "renditions")
    problem(writable.get("/studies/s/image"), 503, "store/unavailable")
    ready = writable.get("/health/ready")
    assert ready.status_code == 503
    assert "missing" in ready.json()["parts"]["renditions"]


def test_missing_studies_are_not_ready(writable):
    store = writable.app.state.services.library.store
    for number in range(4):
        assert writable.put(f"/studies/s{number}", json={"report": "Nodule."}).status_code == 200
    assert writable.get("/health/ready").status_code == 200
    kept, store.tally = store.tally, None
    writable.delete("/studies/s0"), writable.delete("/studies/s1")
    store.tally = kept
    ready = writable.get("/health/ready")
    assert ready.status_code == 503
    assert "2 of 4 studies are missing" in ready.json()["parts"]["store"]


def test_a_panic_of_the_engine_is_a_typed_error_and_not_ready(writable, problem, monkeypatch):
    class PanicException(BaseException):
        """As pyo3 raises it."""

    store = writable.app.state.services.library.store
    assert writable.put("/studies/s", json={"report": "Nodule."}).status_code == 200
    shard = Mock(wraps=store._shards["report"]._used.engine)
    shard.query.side_effect = PanicException("called unwrap() on DOE^JANE")
    monkeypatch.setattr(store._shards["report"]._used, "engine", shard)
    problem(writable.post("/retrieve", json={"text": "nodule"}), 503, "store/unavailable")
    ready = writable.get("/health/ready")
    assert ready.status_code == 503
    assert "DOE" not in ready.text


def test_a_full_disk_is_shown_and_is_still_ready(writable, problem, monkeypatch):
    monkeypatch.setattr("service.disk.free_bytes", lambda _: 0)
    problem(writable.put("/studies/s", json={"report": "Nodule."}), 507, "store/full")
    ready = writable.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["parts"]["disk"].startswith("read-only: ")
    assert "eclip_read_only 1.0" in writable.get("/metrics").text
    monkeypatch.undo()
    assert writable.put("/studies/s", json={"report": "Nodule."}).status_code == 200
    assert writable.get("/health/ready").json()["parts"]["disk"] == "ready"
    assert "eclip_read_only 0.0" in writable.get("/metrics").text


def test_a_language_model_that_is_away_is_shown_and_is_still_ready(client, closed_port):
    shared, url = client.app.state.services, f"http://127.0.0.1:{closed_port}/v1"
    settings = Settings(data_dir=shared.settings.data_dir, llm_url=url)
    wired = replace(shared, settings=settings)
    with in_process(settings, wired) as asked:
        ready = asked.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["parts"]["language_model"].startswith("away: ")


def test_a_store_that_hangs_delays_no_question(writable, monkeypatch):
    gone_on = threading.Event()
    store = writable.app.state.services.library.store
    monkeypatch.setattr(store, "check", lambda: gone_on.wait(60))
    monkeypatch.setattr("service.health.STUCK_S", 0.0)
    ready = writable.get("/health/ready")
    assert ready.status_code == 503
    assert "has not answered" in ready.json()["parts"]["store"]
    gone_on.set()


def test_a_server_whose_workers_have_ended_is_neither_live_nor_ready(tmp_path):
    """Only a restart helps."""
    with in_process(Settings(data_dir=tmp_path)) as client:
        client.app.state.services.encoder.close()
        ready, live = client.get("/health/ready"), client.get("/health/live")
    assert (ready.status_code, live.status_code) == (503, 503)
    assert "worker" in ready.json()["parts"]["workers"]
    assert "worker" in live.json()["status"]


def test_the_bundle_is_shown_whole(client):
    body = client.get("/bundle").json()
    assert body["manifest"]["id"] in (DEMO_BUNDLE / "bundle.json").read_text()
    assert body["label_sets"]["phantom"][:2] == ["atelectasis", "cardiomegaly"]
    assert body["metrics"] == body["manifest"]["metrics"]
    assert body["model_card"] == (DEMO_BUNDLE / "MODEL_CARD.md").read_text()


def test_metrics_count_by_route_template(client, radiograph):
    client.get("/studies/some-study")
    client.post("/embed/image", files={"files": radiograph})
    text = client.get("/metrics").text
    assert 'eclip_requests_total{route="/studies/{study_id}",status="404"}' in text
    assert "some-study" not in text
    assert 'eclip_stage_seconds_count{stage="infer"}' in text
    assert 'eclip_batch_items_count{tower="image"}' in text
    assert 'eclip_errors_total{type="urn:eclip:study/unknown"}' in text
