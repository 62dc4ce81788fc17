import shutil

import pytest
from qdrant_client import QdrantClient
from structlog.testing import capture_logs

from service.bundle.manifest import load, seal
from service.cases.server import ServerStore
from service.errors import BundleCorrupt, BundleMismatch, BundleNotReady, StoreUnavailable
from service.settings import DEMO_BUNDLE, Settings
from service.wiring import open_services
from tests.support.server import in_process

pytestmark = pytest.mark.slow


def test_a_library_of_another_bundle_is_refused(tmp_path):
    with open_services(Settings(data_dir=tmp_path / "var")):
        pass
    other = shutil.copytree(DEMO_BUNDLE, tmp_path / "bundle")
    seal(other, load(other).manifest.model_copy(update={"version": "other"}))
    with (
        pytest.raises(BundleMismatch, match="was written with bundle"),
        open_services(Settings(data_dir=tmp_path / "var", bundle=other)),
    ):
        pass


def test_a_library_under_another_hash_key_is_refused(tmp_path):
    with open_services(Settings(data_dir=tmp_path)):
        pass
    (tmp_path / "identifiers.key").write_text("ab" * 32)
    with (
        pytest.raises(BundleMismatch, match="hash key"),
        open_services(Settings(data_dir=tmp_path)),
    ):
        pass


def test_a_corrupt_bundle_never_starts(tmp_path):
    broken = shutil.copytree(DEMO_BUNDLE, tmp_path / "bundle")
    data = bytearray((broken / "text.onnx").read_bytes())
    data[1000] ^= 1
    (broken / "text.onnx").write_bytes(data)
    settings = Settings(data_dir=tmp_path / "var", bundle=broken)
    with pytest.raises(BundleCorrupt, match=r"text\.onnx"), open_services(settings):
        pass


def test_a_provider_that_is_not_there_never_starts(tmp_path):
    settings = Settings(data_dir=tmp_path, providers=("CoreMLExecutionProvider",))
    with pytest.raises(BundleNotReady, match="CoreML"), open_services(settings):
        pass


def test_a_qdrant_server_is_used_where_one_is_named_and_never_replaced(tmp_path, closed_port):
    settings = Settings(data_dir=tmp_path, qdrant_url=f"http://127.0.0.1:{closed_port}")
    with pytest.raises(StoreUnavailable, match="Qdrant server"), open_services(settings):
        pass
    assert not (tmp_path / "studies").exists()


@pytest.mark.filterwarnings("ignore::UserWarning:service")  # qdrant's local mode
def test_the_parts_meet_a_qdrant_server_through_its_client(tmp_path, monkeypatch):
    """qdrant-client's own in-memory engine takes the server's place."""
    monkeypatch.setattr("service.wiring.connect", lambda *_, **__: QdrantClient(":memory:"))
    settings = Settings(data_dir=tmp_path, qdrant_url="http://qdrant:6333")
    with in_process(settings) as client:
        assert isinstance(client.app.state.services.library.store, ServerStore)
        client.put("/studies/s1", json={"report": "Small left effusion. No pneumothorax."})
        found = client.post("/retrieve", json={"text": "effusion"}).json()
        assert len(found["hits"]) == 1


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_listening_beyond_this_machine_without_keys_is_warned_of(client, host, warned):
    settings = Settings(host=host, anyone_may_read_and_delete=True)
    with capture_logs() as logs, in_process(settings, client.app.state.services):
        pass
    assert any("may read and delete everything" in log["event"] for log in logs) == warned
