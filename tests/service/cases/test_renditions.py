"""No write, however it ends, leaves a rendition that no study names."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from service import disk
from service.cases import renditions as renditions_module
from service.cases.notes import Note, left_notes, noted
from service.cases.places import sweep, unnamed
from service.cases.records import NewStudy, StudyRecord
from service.cases.renditions import Renditions
from service.errors import StoreFull, StoreUnavailable
from service.settings import DEMO_LIBRARY

PICTURES = [path.read_bytes() for path in sorted(DEMO_LIBRARY.parent.glob("images/*.jpg"))[:3]]
REPOSITORY = Path(__file__).parents[3]


def new_study(*images, report="FINDINGS: Small left effusion."):
    return NewStudy("s", StudyRecord(patient_id="p", report=report), images)


def files(renditions):
    return sorted(path.name for path in renditions.folder.rglob("*") if path.is_file())


def jpegs(*names):
    return sorted(f"{name}.jpg" for name in names)


def names(library):
    return [image.rendition for image in library.get("s").images]


@pytest.fixture
def renditions(tmp_path):
    return Renditions(tmp_path / "renditions" / "studies")


@pytest.fixture
def showing(study):
    """Makes a stored study with one image, whose rendition has the given name."""

    def make(rendition):
        whole = study("study")
        images = (replace(whole.study.images[0], rendition=rendition),)
        return replace(whole, study=replace(whole.study, images=images))

    return make


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt])
def test_a_write_that_the_store_refuses_leaves_no_rendition(
    library, renditions, deadline, monkeypatch, error
):
    def refuses(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(library.store, "put", refuses)
        with pytest.raises(StoreUnavailable if error is OSError else error):
            library.put(new_study(PICTURES[0], PICTURES[1]), deadline)
    sweep(library.store, renditions)
    assert files(renditions) == []


def test_one_rendition_that_the_disk_refuses_is_an_error_and_leaves_none(renditions, monkeypatch):
    write = renditions_module.write_atomically

    def refuses_one(path, data):
        if path.stem == "n7":
            raise OSError(errno.ENOSPC, "no space left")
        write(path, data)

    monkeypatch.setattr(renditions_module, "write_atomically", refuses_one)
    new = {f"n{number}": b"jpeg" for number in range(20)}
    with pytest.raises(StoreFull), renditions.exchanging(["study"], set(), new.keys()):
        renditions.write_all(new)
    assert list(renditions.all_names()) == []


def test_a_replacement_that_the_store_refuses_leaves_the_old_renditions(
    library, renditions, deadline, monkeypatch
):
    library.put(new_study(PICTURES[0]), deadline)
    old = names(library)

    def refuses(*_):
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(library.store, "put", refuses)
        with pytest.raises(RuntimeError):
            library.put(new_study(PICTURES[1]), deadline)
    assert files(renditions) == jpegs(*old)
    library.put(new_study(PICTURES[1]), deadline)
    assert files(renditions) == jpegs(*names(library))


# Is killed in the block: after its renditions were written, one of them half.
WRITE = """
import os, signal, sys
from pathlib import Path
from service.cases.renditions import Renditions
renditions = Renditions(Path(sys.argv[1]))
with renditions.exchanging(["study"], {"old"}, {"new"}):
    renditions.write("new", b"jpeg")
    renditions._path("new").with_name(".new.jpg.0a1b2c3d.part").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("stored", "left"), [("old", ["old"]), ("new", ["new"]), (None, [])])
def test_what_a_killed_process_left_is_removed_at_the_next_start(
    edge, renditions, showing, stored, left
):
    renditions.write("old", b"jpeg")
    command = [sys.executable, "-c", WRITE, str(renditions.folder)]
    done = subprocess.run(command, cwd=REPOSITORY, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(files(renditions)) == 4
    if stored:
        edge.put([showing(stored)])
    sweep(edge, renditions)
    assert files(renditions) == jpegs(*left)


def test_what_a_living_process_writes_is_left_alone(edge, renditions):
    with renditions.exchanging(["study"], set(), {"new"}):
        renditions.write("new", b"jpeg")
        sweep(edge, renditions)
        assert "new.jpg" in files(renditions)
    assert files(renditions) == ["new.jpg"]
    assert unnamed(edge, renditions) == {"new"}


def test_a_note_is_there_before_the_block_and_gone_after_it(tmp_path):
    note = Note(["study"], ["name"])
    with noted(tmp_path / "notes", note):
        (path,) = (tmp_path / "notes").iterdir()
        with path.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert list(left_notes(tmp_path / "notes")) == []
    assert list((tmp_path / "notes").iterdir()) == []


def test_a_write_that_is_refused_for_lack_of_room_leaves_no_note(renditions, monkeypatch):
    """Clients send it again and again, and the notes would take what room is left."""
    monkeypatch.setattr(disk, "free_bytes", lambda _: 0)
    full = replace(renditions, reserve=2**20)
    with pytest.raises(StoreFull), full.exchanging(["study"], set(), {"new"}):
        pytest.fail("began to write")
    assert files(renditions) == []


def test_a_note_for_which_there_is_no_room_leaves_no_file(tmp_path, monkeypatch):
    def refuses(_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", refuses)
    with pytest.raises(OSError, match="no space"), noted(tmp_path, Note(["study"], ["name"])):
        pytest.fail("began without a note")
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_nobody_finished_is_removed_after_an_hour(tmp_path):
    new, old = tmp_path / "a.new", tmp_path / "b.new"
    for path in (new, old):
        path.write_text("{")
    os.utime(old, (0, 0))
    assert list(left_notes(tmp_path)) == []
    assert list(tmp_path.iterdir()) == [new]
