import os

import pytest

from service import files
from service.files import remove_drafts, write_atomically, written_atomically


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "file"


@pytest.fixture
def synced(monkeypatch):
    """What was synced, in order."""
    synced, sync = [], files.sync
    monkeypatch.setattr(files, "sync", lambda each: (synced.append(each), sync(each)))
    return synced


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def test_a_file_is_written_and_replaced_whole(path):
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["file"]


def test_the_draft_is_synced_before_it_is_renamed_and_its_folder_after(path, synced, monkeypatch):
    replace = type(path).replace

    def noted(draft, target):
        synced.append("renamed")
        return replace(draft, target)

    monkeypatch.setattr(type(path), "replace", noted)
    with written_atomically(path) as draft:
        draft.write_bytes(b"new")
    assert synced[1:] == [draft, "renamed", path.parent]


def test_the_folders_that_were_made_are_synced_in_their_folders(tmp_path, synced):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "b" / "c" / "file"
    write_atomically(path, b"new")
    assert synced[:2] == [tmp_path / "a" / "b", tmp_path / "a"]
    assert synced[-1] == path.parent
    synced.clear()
    write_atomically(path, b"newer")
    assert len(synced) == 2


def test_the_old_file_stays_until_the_draft_is_whole(path):
    write_atomically(path, b"old")
    with written_atomically(path) as draft:
        draft.write_bytes(b"half")
        assert path.read_bytes() == b"old"
        draft.write_bytes(b"half and half")
    assert path.read_bytes() == b"half and half"


def test_an_error_removes_the_draft_and_leaves_the_old_file(path):
    write_atomically(path, b"old")

    def write_half():
        with written_atomically(path) as draft:
            draft.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_bytes() == b"old"
    assert names(path.parent) == ["file"]


def test_a_crash_between_draft_and_rename_leaves_the_old_file(path):
    """The child process ends without cleaning up, as in a power cut."""
    write_atomically(path, b"old")
    child = os.fork()
    if child == 0:
        with written_atomically(path) as draft:
            draft.write_bytes(b"new")
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert path.read_bytes() == b"old"
    assert [name for name in names(path.parent) if not name.endswith(".part")] == ["file"]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_failed_rename_removes_the_draft(path, monkeypatch):
    write_atomically(path, b"old")

    def full(*_):
        raise OSError("full")

    monkeypatch.setattr(type(path), "replace", full)
    with pytest.raises(OSError, match="full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(path.parent) == ["file"]


def test_a_folder_is_drafted_with_all_its_files_and_synced(path, synced):
    with written_atomically(path) as draft:
        (draft / "inner").mkdir(parents=True)
        (draft / "inner" / "a").write_bytes(b"a")
    assert (path / "inner" / "a").read_bytes() == b"a"
    assert names(path.parent) == ["file"]
    assert set(synced[1:-2]) == {draft / "inner", draft / "inner" / "a"}
    assert synced[-2:] == [draft, path.parent]


def test_a_folder_that_holds_something_is_not_replaced(path):
    with written_atomically(path) as draft:
        draft.mkdir()
        (draft / "old").touch()
    with pytest.raises(OSError, match="not empty"), written_atomically(path) as draft:
        draft.mkdir()
    assert names(path) == ["old"]
    assert names(path.parent) == ["file"]


def test_the_last_of_two_writers_at_once_wins(path):
    with written_atomically(path) as outer, written_atomically(path) as inner:
        assert outer != inner
        outer.write_bytes(b"outer")
        inner.write_bytes(b"inner")
    assert path.read_bytes() == b"outer"
    assert names(path.parent) == ["file"]


def test_only_the_drafts_of_this_file_are_removed(tmp_path):
    for name in (".a[1].0f.part", ".a1.0f.part", "a[1]"):
        (tmp_path / name).touch()
    remove_drafts(tmp_path / "a[1]")
    assert names(tmp_path) == [".a1.0f.part", "a[1]"]
