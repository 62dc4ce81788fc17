from service.errors import StoreUnavailable
from service.settings import DEMO_BUNDLE, Settings
from tests.conftest import in_process


def test_a_running_service_is_live_and_ready(client):
    assert client.get("/health/live").json() == {"status": "live"}
    ready = client.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["parts"] == {"bundle": "ready", "store": "ready", "workers": "ready"}


def test_a_store_that_does_not_answer_is_not_ready_and_still_live(writable, monkeypatch):
    def check():
        raise StoreUnavailable("The store is away.")

    monkeypatch.setattr(writable.app.state.services.library.store, "check", check)
    ready = writable.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json()["parts"]["store"] == "The store is away."
    assert ready.json()["parts"]["workers"] == "ready"
    assert writable.get("/health/live").status_code == 200


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
