import pytest
from typer.testing import CliRunner

from service.access.key_file import digest, read_keys
from service.cli import cli
from service.errors import SettingInvalid


@pytest.fixture(autouse=True)
def path(monkeypatch, tmp_path):
    monkeypatch.setenv("ECLIP_KEY_FILE", str(tmp_path / "keys.json"))
    return tmp_path / "keys.json"


def keys(*arguments):
    done = CliRunner().invoke(cli, ["keys", *arguments])
    if isinstance(done.exception, SettingInvalid):
        raise done.exception
    return done


def test_a_new_key_is_printed_alone_and_once(path):
    made = keys("new", "ward", "--scopes", "read, write", "--expires", "2999-01-31")
    key = made.stdout.removesuffix("\n")
    assert made.exit_code == 0
    assert read_keys(path)["ward"].sha256 == digest(key)
    assert key not in made.stderr
    shown = keys("list").stdout
    assert key not in shown
    for word in ("ward", "read, write", "2999-01-31"):
        assert word in shown


def test_a_removed_key_is_gone_and_an_expired_one_is_shown_as_such():
    keys("new", "old", "--scopes", "metrics", "--expires", "2020-01-31")
    keys("new", "ward", "--scopes", "read")
    assert keys("remove", "ward").exit_code == 0
    shown = keys("list").stdout
    assert "expired" in shown
    assert "ward" not in shown


def test_a_wrong_command_says_why(path, monkeypatch):
    for arguments, why in (
        (("new", "a b", "--scopes", "read"), "name: take"),
        (("new", "a", "--scopes", "reed"), "scopes: name"),
        (("new", "a", "--scopes", "read", "--expires", "never"), "expires: give"),
        (("remove", "nobody"), "no key `nobody`"),
    ):
        with pytest.raises(SettingInvalid, match=why):
            keys(*arguments)
    assert not path.exists() or read_keys(path) == {}
    assert keys("new", "a").exit_code == 2  # scopes are never guessed
    monkeypatch.delenv("ECLIP_KEY_FILE")
    with pytest.raises(SettingInvalid, match="Set ECLIP_KEY_FILE"):
        keys("list")
