import json
import os
import resource

import pytest
from structlog.testing import capture_logs

from service.access.key_file import add_key, digest, remove_key
from service.access.keys import KeyRing
from service.errors import KeyExpired, ScopeMissing, SettingInvalid
from service.telemetry import KEY_FILE_GOOD

READ = {"scopes": ["read"]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


def good():
    return KEY_FILE_GOOD.collect()[0].samples[0].value


def test_keys_come_from_the_settings_and_from_the_file(path):
    ward = add_key(path, "ward", READ)
    ring = KeyRing({digest("old"): ("read", "write")}, path)
    assert ring.find(ward).name == "ward"
    assert ring.find("old").name == digest("old")[:12]
    for unknown in ("", "ward", digest(ward), ward + " ", "käse", "\xff"):
        assert ring.find(unknown) is None


def test_a_change_of_the_file_counts_at_once(path):
    first = add_key(path, "first", READ)
    ring = KeyRing({}, path)
    second = add_key(path, "second", READ)
    assert ring.find(second).name == "second"
    remove_key(path, "first")
    assert ring.find(first) is None
    remove_key(path, "second")
    assert ring.find(second) is None


@pytest.mark.parametrize("broken", ["", "{", '{"a": 1}', None])
def test_a_broken_file_changes_nothing_and_is_said_once(path, broken):
    key = add_key(path, "ward", READ)
    whole = path.read_text()
    ring = KeyRing({}, path)
    path.unlink() if broken is None else path.write_text(broken)
    with capture_logs() as logs:
        assert ring.find(key).name == "ward"
        assert ring.find(key).name == "ward"
    assert [log["log_level"] for log in logs] == ["error"]
    assert good() == 0
    path.write_text(whole.replace("ward", "clinic"))
    assert ring.find(key).name == "clinic"
    assert good() == 1


def test_a_file_that_could_not_be_opened_for_a_moment_is_read_again(path):
    """A removed key must not go on because descriptors were short at the first request."""
    first, second = add_key(path, "first", READ), add_key(path, "second", READ)
    ring = KeyRing({}, path)
    remove_key(path, "first")
    free = os.open(path, os.O_RDONLY)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        assert ring.find(first).name == "first"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert good() == 0
    assert ring.find(first) is None
    assert ring.find(second).name == "second"
    assert good() == 1


def test_a_server_does_not_start_with_a_file_that_it_cannot_read(path):
    with pytest.raises(SettingInvalid, match="No such file"):
        KeyRing({}, path)


def test_a_file_without_keys_lets_nobody_in(path):
    path.write_text("{}")
    assert KeyRing({}, path).find("anything") is None


def test_an_expired_key_opens_nothing_and_says_so(path):
    key = add_key(path, "old", {"scopes": ["read"], "expires": "2020-02-29"})
    with pytest.raises(KeyExpired, match="expired on 2020-02-29 00:00 UTC"):
        KeyRing({}, path).find(key).require("read")
    path.write_text(path.read_text().replace("2020-02-29", "2999-02-28"))
    KeyRing({}, path).find(key).require("read")


@pytest.mark.parametrize("scope", ["read", "write", "delete", "metrics"])
def test_a_scope_opens_itself_and_reading_opens_metrics(scope):
    key = KeyRing({digest("k"): (scope,)}, None).find("k")
    opened = {scope, "metrics"} if scope == "read" else {scope}
    for asked in ("read", "write", "delete", "metrics"):
        if asked in opened:
            key.require(asked)
        else:
            with pytest.raises(ScopeMissing, match=f"lacks the scope `{asked}`"):
                key.require(asked)


def test_the_file_may_be_written_by_hand(path):
    entry = {"sha256": digest("k"), "scopes": ["read"], "expires": "2999-12-31T08:00:00+02:00"}
    path.write_text(json.dumps({"by-hand": entry}))
    KeyRing({}, path).find("k").require("read")
