import pytest
import yaml
from pydantic import ValidationError

from service.errors import SettingInvalid
from service.settings import (
    DEMO_BUNDLE,
    OF_MEMORY,
    PER_CORE,
    Settings,
    available_cores,
    read_settings,
    usable_memory,
)
from tests.conftest import ROOT


def test_a_setting_is_read_from_the_environment_with_its_prefix(monkeypatch, tmp_path):
    monkeypatch.setenv("ECLIP_PORT", "9000")
    monkeypatch.setenv("ECLIP_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ECLIP_API_KEYS", f'{{"{"a" * 64}": ["read"]}}')
    settings = Settings()
    assert (settings.port, settings.data_dir) == (9000, tmp_path)
    assert settings.api_keys == {"a" * 64: ("read",)}
    assert settings.bundle == DEMO_BUNDLE


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "70000"), ("MAX_K", "0"), ("LOG_LEVEL", "loud"), ("API_KEYS", '{"key": ["read"]}')],
)
def test_a_value_out_of_bounds_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(f"ECLIP_{name}", value)
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("ECLIP_API_KEY", "ECLIP_API_KEYS"),
        ("ECLIP_APIKEYS", "ECLIP_API_KEYS"),
        ("eclip_api_key", "ECLIP_API_KEYS"),
        ("ECLIP_KEYFILE", "ECLIP_KEY_FILE"),
        ("ECLIP_MAX_BODY", "ECLIP_MAX_BODY_BYTES"),
        ("ECLIP_ANYONE_MAY_READ", "ECLIP_ANYONE_MAY_READ_AND_DELETE"),
        ("ECLIP_", "ECLIP_"),
    ],
)
def test_a_misspelt_setting_is_refused_with_the_one_that_was_meant(monkeypatch, variable, meant):
    monkeypatch.setenv(variable, "secret")
    with pytest.raises(SettingInvalid, match=rf"no setting {variable}\..*mean {meant}") as refused:
        read_settings()
    assert "secret" not in str(refused.value)


def test_every_setting_and_the_variable_of_the_tests_are_known(monkeypatch, tmp_path):
    monkeypatch.setenv("ECLIP_SHARED_DATA", str(tmp_path))
    monkeypatch.setenv("eclip_port", "9000")
    assert read_settings().port == 9000


def test_a_container_has_as_long_to_stop_as_a_request_may_take():
    without, with_model = Settings().longest_s, Settings(llm_url="http://vllm:8000/v1").longest_s
    composition = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert composition["services"]["service"]["stop_grace_period"] == f"{with_model:g}s"
    assert f"{without:g} s, or {with_model:g} s with" in (ROOT / "docs/operations.md").read_text()


def test_the_container_has_the_memory_that_the_default_is_made_for():
    """docs/http-api.md and deploy/README.md have the formula: `ECLIP_MEMORY_BYTES` × 8 / 5."""
    composition = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    limit = composition["services"]["service"]["mem_limit"]
    assert limit == f"{2 * PER_CORE / OF_MEMORY / 2**30:g}g"
    assert "`ECLIP_MEMORY_BYTES` × 8 / 5" in (ROOT / "docs/http-api.md").read_text()


@pytest.mark.parametrize(
    ("limit", "cores", "expected"),
    [
        ("2147483648\n", 16, 1280), ("1073741824", 2, 640), (None, 1, 1280), ("max", 4, 2560),
        ("34359738368", 64, 20_480), ("9223372036854771712", 64, 40 * 1024),
    ],
)  # fmt: skip
def test_the_memory_is_what_cores_need_within_that_of_the_container(
    monkeypatch, tmp_path, limit, cores, expected
):
    monkeypatch.setattr("service.settings.available_cores", lambda: cores)
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 2**24, "SC_PAGE_SIZE": 4096}.__getitem__)
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit)
    assert usable_memory(tmp_path / "memory.max") >> 20 == expected


def test_requests_and_decoding_share_the_memory():
    settings = Settings(memory_bytes=1280 * 2**20)
    assert (settings.request_bytes >> 20, settings.decoding_bytes >> 20) == (512, 768)


def test_secrets_do_not_show():
    settings = Settings(llm_api_key="hush", qdrant_api_key="hush")
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 4), ("200000 100000", 2), ("50000 100000", 1), ("990000 100000", 4), (None, 4)],
)
def test_the_cores_are_those_that_a_container_is_given(monkeypatch, tmp_path, quota, cores):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 5}, raising=False)
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    assert available_cores(tmp_path / "cpu.max") == cores


@pytest.mark.parametrize(
    ("given", "name"), [("", None), (" ", None), (" Qwen/Qwen2.5 ", "Qwen/Qwen2.5")]
)
def test_an_empty_name_of_a_model_is_none(monkeypatch, given, name):
    """Compose passes `ECLIP_LLM_MODEL=` on as an empty text."""
    monkeypatch.setenv("ECLIP_LLM_MODEL", given)
    assert Settings().llm_model == name
