"""Settings of the PACS that contradict each other stop the start; open doors are warned of."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from service import listen_command
from service.errors import SettingInvalid, StoreUnavailable
from service.health import READY
from service.listening import check_listening
from service.pacs_wiring import _state
from service.settings import Settings


def check(**settings):
    check_listening(Settings(**settings))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rules.csv"
    path.write_text("modality,body_part,view,station,process\n")
    return path


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"results_to": "dimse://PACS@host:104"}, "ECLIP_RESULTS_TO is set, and nothing"),
        ({"fhir_url": "http://fhir"}, "ECLIP_FHIR_URL is set, and nothing"),
        ({"rules": "x.csv"}, "ECLIP_RULES is set, and nothing"),
        ({"listen_port": 0, "results_to": "ftp://host"}, "Wrong address of a PACS"),
        ({"listen_port": 0, "rules": "missing.csv"}, "ECLIP_RULES names no file"),
        ({"listen_port": 0, "spool_key_file": "missing"}, "ECLIP_SPOOL_KEY_FILE names no file"),
        ({"listen_port": 0, "listen_certificate": "c.pem"}, "need each other"),
        ({"listen_port": 0, "pacs_certificate_key": "k.pem"}, "need each other"),
        ({"listen_port": 0, "pacs_user": "me"}, "ECLIP_PACS_USER and ECLIP_PACS_PASSWORD"),
        ({"listen_port": 0, "listen_ca": "ca.pem"}, "ECLIP_LISTEN_CA checks callers of TLS"),
    ],
)
def test_settings_that_contradict_each_other_are_named(settings, named):
    with pytest.raises(SettingInvalid, match=named):
        check(**settings)


def test_settings_that_fit_pass(file):
    check()
    check(listen_port=0, results_to="dimse://PACS@host:104", rules=file, fhir_url="http://fhir")


def test_bad_rules_stop_the_start(file):
    file.write_text("modality,body_part,view,station,process\nDX,,,,maybe\n")
    with pytest.raises(SettingInvalid, match="row 1, column process"):
        check(listen_port=0, rules=file)


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"listen_host": "0.0.0.0"}, True),
        ({"listen_host": "pacs"}, True),
        ({"listen_host": "0.0.0.0", "listen_callers": ("CR1",)}, False),
        ({"listen_host": "127.0.0.1"}, False),
        ({"listen_host": "localhost"}, False),
        ({"listen_host": "::1"}, False),
    ],
)
def test_a_port_that_anyone_reaches_is_warned_of(capsys, settings, warned):
    check(listen_port=0, **settings)
    out = capsys.readouterr()
    assert ("may send radiographs" in out.out + out.err) is warned


@pytest.mark.parametrize(("port", "used"), [(None, 11112), (4242, 4242)])
def test_eclip_listen_has_a_port_of_its_own_unless_one_is_set(monkeypatch, port, used):
    served = []
    monkeypatch.setattr(listen_command, "start", lambda: Settings(listen_port=port))
    monkeypatch.setattr(listen_command.serving, "serve", lambda each, _: served.append(each))
    listen_command.listen()
    assert served[0].listen_port == used


@pytest.mark.parametrize(
    ("desk", "outbox", "said"),
    [
        ({}, {}, READY),
        ({"full": True}, {}, "full: radiographs are refused"),
        ({}, {"failing": 1}, "away: 1 result waits for"),
        ({}, {"failing": 3}, "away: 3 results wait for"),
    ],
)
def test_the_health_says_how_receiving_and_sending_go(desk, outbox, said):
    well = {"alive": True, "full": False, "failing": 0}
    parts = (SimpleNamespace(**well | each) for each in (desk, outbox, {}))
    assert _state(*parts).startswith(said)


@pytest.mark.parametrize("dead", ["desk", "outbox", "receiver"])
def test_a_thread_that_ended_makes_the_service_unready(dead):
    parts = {name: SimpleNamespace(alive=name != dead) for name in ("desk", "outbox", "receiver")}
    with pytest.raises(StoreUnavailable, match="Restart"):
        _state(**parts)


START = """
import sys
import service.cli
print(*{"pynetdicom", "highdicom", "cryptography", "service.pacs_wiring"} & set(sys.modules))
"""


@pytest.mark.slow
def test_the_program_starts_without_what_only_a_pacs_needs():
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, check=True)
    assert done.stdout == b"\n"
