import json
import os
import stat
import threading

import pytest

from service.access.key_file import add_key, digest, read_keys, remove_key
from service.errors import SettingInvalid

READ = {"scopes": ["read"]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "keys.json"


def test_a_new_key_is_random_and_the_file_has_only_its_hash(path):
    first = add_key(path, "ward", {"scopes": ["read", "write"], "expires": "2027-01-31"})
    second = add_key(path, "pacs", READ)
    assert first != second
    assert len(first) == len("eclip_") + 43
    assert first not in path.read_text()
    keys = read_keys(path)
    assert keys["ward"].sha256 == digest(first)
    assert keys["ward"].scopes == ("read", "write")
    assert f"{keys['ward'].expires:%Y-%m-%dT%H:%M%z}" == "2027-01-31T00:00+0000"
    assert keys["pacs"].expires is None


def test_the_file_is_its_owners_alone_and_keeps_the_mode_it_was_given(path):
    add_key(path, "a", READ)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    remove_key(path, "a")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert read_keys(path) == {}
    assert [file.name for file in path.parent.iterdir()] == ["keys.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_file_stays_the_services_when_root_changes_it(path):
    add_key(path, "a", READ)
    os.chown(path, 10001, 10001)
    add_key(path, "b", READ)
    assert (path.stat().st_uid, path.stat().st_gid) == (10001, 10001)


def test_a_link_is_followed(path, tmp_path):
    add_key(path, "a", READ)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    add_key(link, "b", READ)
    assert link.is_symlink()
    assert read_keys(path).keys() == {"a", "b"}


def test_commands_at_the_same_time_lose_no_key(path):
    names = [f"key-{number}" for number in range(8)]
    threads = [threading.Thread(target=add_key, args=(path, name, READ)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_keys(path).keys() == set(names)


@pytest.mark.parametrize(
    ("name", "entry", "wrong"),
    [
        ("a b", READ, "name"),
        ("", READ, "name"),
        ("x" * 65, READ, "name"),
        ("line\n", READ, "name"),
        ("ok", {"scopes": []}, "scopes"),
        ("ok", {"scopes": ["reed"]}, "scopes: name one"),
        ("ok", {"scopes": ["read"], "expires": "soon"}, "expires"),
        ("ok", {"scopes": ["read"], "expires": "2027-01-31T10:00"}, "expires.*time zone"),
        ("taken", READ, "taken"),
    ],
)
def test_a_wrong_name_scope_or_day_changes_nothing(path, name, entry, wrong):
    add_key(path, "taken", READ)
    before = path.read_bytes()
    with pytest.raises(SettingInvalid, match=wrong):
        add_key(path, name, entry)
    with pytest.raises(SettingInvalid, match="no key `nobody`"):
        remove_key(path, "nobody")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "JSON"),
        ("[]", "object"),
        ('{"a": {"scopes": ["read"]}}', "a.sha256: Field required"),
        (json.dumps({"a": {"sha256": "my secret key", "scopes": ["read"]}}), "a.sha256"),
        (json.dumps({"a": {"sha256": "a" * 64, "scopes": ["read"], "expire": "x"}}), "a.expire"),
    ],
)
def test_a_damaged_file_is_refused_with_the_place_and_without_its_content(path, content, why):
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(SettingInvalid, match=why) as refused:
        read_keys(path)
    assert "my secret key" not in str(refused.value)
    with pytest.raises(SettingInvalid):
        add_key(path, "b", READ)
    assert path.read_text() == content


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    for place, why in (
        (tmp_path / "file" / "keys.json", "written: File exists"),
        (tmp_path, "read: Is a directory"),
    ):
        with pytest.raises(SettingInvalid, match=f"ECLIP_KEY_FILE cannot be {why}."):
            add_key(place, "a", READ)


def test_a_missing_file_says_how_to_make_it(path):
    with pytest.raises(SettingInvalid, match=r"No such file.*eclip keys new"):
        read_keys(path)
