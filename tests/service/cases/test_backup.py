"""A backup is of one moment, though a process writes meanwhile, and whole or not there."""

import errno
import fcntl
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from service.cases import backup as backup_module
from service.cases import upkeep
from service.cases.backup import back_up, restore
from service.cases.checking import faults
from service.cases.edge import EdgeStore
from service.cases.places import renditions_of
from service.cases.snapshot import (
    bytes_of_snapshot,
    remove_abandoned,
    room_for_snapshot,
    take_snapshot,
)
from service.cases.tally import Tally
from service.cases.writing import WriteLock
from service.errors import StoreFull, StoreUnavailable
from tests.service.cases.conftest import IDENTITY
from tests.support.disks import fill, small_disk
from tests.support.library_writer import NAME, illustrated, open_library, put, reference

REPOSITORY = Path(__file__).parents[3]
MIB = 2**20
TIMEOUT_S = 60
"""Seconds after which a process counts as hung."""


@pytest.fixture
def data_dir(path):
    """A data directory with a key, on the disk of `path`."""
    path.mkdir()
    (path / "identifiers.key").write_text("5a" * 32)
    return path


@pytest.fixture
def library(data_dir):
    """A data directory with a closed library of ten studies."""
    library = open_library(data_dir)
    put(library, *map(reference, range(10)))
    library.store.tally.compare(library.store.count)
    library.store.close()
    return data_dir


def studies_of(data_dir):
    """Returns the studies of a sound library, and their number by its tally."""
    store = EdgeStore.existing(data_dir / NAME)
    store.tally = Tally(data_dir / f"{NAME}.count")
    try:
        assert list(faults(store, renditions_of(data_dir, NAME), lambda _: None)) == []
        return {embedded.study.study_id: embedded for embedded in store.studies()}
    finally:
        store.close()


def same(one, other):
    return one.study == other.study and all(
        np.allclose(ours, theirs, atol=1e-3)  # float16
        for ours, theirs in zip(
            (*one.image_vectors, one.report_vector, *one.passage_vectors),
            (*other.image_vectors, other.report_vector, *other.passage_vectors),
            strict=True,
        )
    )


class Writer:
    """A process that writes without a pause, and the lines that it has written."""

    def __init__(self, data_dir):
        command = [sys.executable, "-m", "tests.support.library_writer", str(data_dir)]
        self.process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        self.lines = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(tuple(line.split()))

    def wait_for(self, lines):
        end = time.monotonic() + TIMEOUT_S
        while len(self.lines) < lines:
            assert self.process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.005)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self._reader.join()
        self.process.stdout.close()
        return self.process.wait()


@pytest.fixture
def writer(data_dir):
    writer = Writer(data_dir)
    yield writer
    writer.kill()


@pytest.mark.slow
def test_backups_while_a_process_writes_have_all_that_was_acknowledged(writer, data_dir):
    backups = []
    for lines in (2, 60, 150, 250, 400):
        writer.wait_for(lines)
        known = len(writer.lines)
        backups.append((known, back_up(data_dir, NAME, data_dir.parent / "backups").path))
    assert writer.kill() == -signal.SIGKILL
    for number, (known, backup) in enumerate(backups):
        restored = data_dir.parent / str(number)
        restore(backup, restored)
        later = {study for _, _, study in writer.lines[known:]}
        done = {study: what for step, what, study in writer.lines[:known] if step == "done"}
        stored = studies_of(restored)
        assert done.keys() - later
        for study, what in done.items():
            if study not in later:
                version = 2 if what == "replace" else 1
                assert (
                    (study not in stored)
                    if what == "delete"
                    else same(stored[study], illustrated(study, version))
                )


def test_a_backup_is_closed_to_others_and_shares_renditions_with_the_one_before(library):
    folder = library.parent / "backups"
    first, second = back_up(library, NAME, folder).path, back_up(library, NAME, folder).path
    assert first < second
    assert {stat.S_IMODE(each.stat().st_mode) & 0o077 for each in (first, second)} == {0}
    pictures = [sorted(each.rglob("*.jpg")) for each in (first, second)]
    assert len(pictures[0]) == 10
    assert [p.stat().st_ino for p in pictures[0]] == [p.stat().st_ino for p in pictures[1]]
    assert not list(second.rglob("ballast"))


def test_on_another_disk_renditions_are_copied_once(library, tmp_path):
    folder = tmp_path / "backups"
    if tmp_path.stat().st_dev == library.stat().st_dev:
        pytest.skip("needs two disks")
    first, _ = back_up(library, NAME, folder).path, back_up(library, NAME, folder).path
    assert {picture.stat().st_nlink for picture in first.rglob("*.jpg")} == {2}


def test_all_that_belongs_to_the_data_directory_is_restored(library, tmp_path):
    for name in ("audit/2026-12-01.jsonl", "pacs/2026-12-01.jsonl", "pacs/inbox/object"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text(name)
    with sqlite3.connect(library / f"{NAME}.ab.pulled") as ledger:
        ledger.executescript("CREATE TABLE runs (asked); INSERT INTO runs VALUES ('all');")
    ledger.close()
    restored = tmp_path / "restored"
    restore(back_up(library, NAME, library.parent / "backups").path, restored)
    assert {path.name for path in restored.iterdir()} == {
        "audit", "identifiers.key", "pacs", "renditions", "studies", "studies.ab.pulled",
        "studies.count",
    }  # fmt: skip
    for name in ("audit/2026-12-01.jsonl", "pacs/2026-12-01.jsonl", "identifiers.key"):
        assert (restored / name).read_text() == (library / name).read_text()
    assert not (restored / "pacs" / "inbox").exists()
    copied = sqlite3.connect(restored / f"{NAME}.ab.pulled")
    assert copied.execute("SELECT asked FROM runs").fetchall() == [("all",)]
    copied.close()


def test_nothing_is_overwritten_by_a_restored_backup(library, tmp_path):
    backup = back_up(library, NAME, library.parent / "backups").path
    used = tmp_path / "used"
    used.mkdir()
    (used / "notes.txt").write_text("mine")
    with pytest.raises(StoreUnavailable, match="not empty"):
        restore(backup, used)
    assert [path.name for path in used.iterdir()] == ["notes.txt"]
    with pytest.raises(StoreUnavailable, match="no backup"):
        restore(used, tmp_path / "empty")


def test_a_folder_takes_one_backup_at_a_time(library, monkeypatch):
    folder = library.parent / "backups"
    monkeypatch.setattr(backup_module, "_copy_beside", lambda *_: back_up(library, NAME, folder))
    with pytest.raises(StoreUnavailable, match="Another backup"):
        back_up(library, NAME, folder)
    assert list(folder.iterdir()) == []


def test_a_missing_library_or_key_and_a_damaged_list_are_said(library):
    with pytest.raises(StoreUnavailable, match="no case library"):
        back_up(library, "others", library.parent / "backups")
    (library / f"{NAME}.ab.pulled").write_text("no database, and longer than its header is: " * 9)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        back_up(library, NAME, library.parent / "backups")
    (library / "identifiers.key").unlink()
    with pytest.raises(StoreUnavailable, match=r"identifiers\.key is missing"):
        back_up(library, NAME, library.parent / "backups")


def test_root_leaves_nothing_in_the_library_of_a_user_who_could_not_remove_it(library):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.chown(library / NAME, 1234, 1234)
    with pytest.raises(StoreUnavailable, match="not as root"):
        back_up(library, NAME, library.parent / "backups")
    assert not (library.parent / "backups").exists()


def test_a_disk_that_is_full_keeps_no_half_backup(library, tmp_path):
    with small_disk(tmp_path / "disk", 400) as disk:
        filler = fill(disk, left=MIB // 2)
        with pytest.raises(StoreFull, match="MiB are needed"):
            back_up(library, NAME, disk / "backups")
        assert list((disk / "backups").iterdir()) == []
        filler.unlink()
        back_up(library, NAME, disk / "backups")


def test_a_snapshot_leaves_the_reserve_of_the_data_directory_alone(tmp_path, monkeypatch):
    with small_disk(tmp_path / "disk", 600) as disk:
        (disk / "identifiers.key").write_text("5a" * 32)
        library = open_library(disk)
        put(library, *map(reference, range(10)))
        library.store.close()
        filler = fill(disk, left=21 * MIB)
        with monkeypatch.context() as patch:
            patch.setattr(backup_module, "take_snapshot", lambda *_: pytest.fail("It is copied."))
            with pytest.raises(StoreFull, match="disk of the data directory"):
                back_up(disk, NAME, tmp_path / "backups", reserve=40 * MIB)
        assert list((tmp_path / "backups").iterdir()) == list((disk / NAME).glob("*snap*")) == []
        filler.unlink()
        back_up(disk, NAME, tmp_path / "backups", reserve=40 * MIB)


def test_the_bytes_that_a_snapshot_takes_are_those_of_files_that_it_does_not_link(library):
    collection = library / NAME / "collection"
    for segment in collection.glob("*/*/segments/*"):  # as if nothing were added to it any more
        (segment / "id_tracker.mappings").touch()
    with room_for_snapshot(library / NAME) as folder:
        needed = bytes_of_snapshot(collection)
        take_snapshot(collection, folder)
        files = [path.stat() for path in folder.rglob("*") if path.is_file()]
        copied = [min(f.st_size, f.st_blocks * 512) for f in files if f.st_nlink == 1]
        assert len(copied) < len(files)
        assert needed == sum(copied)


def test_a_disk_that_fills_while_files_are_copied_keeps_no_half_backup(library, monkeypatch):
    copy, copied = backup_module._copy, []

    def refuses_the_tenth(source, target):
        copied.append(source)
        if len(copied) == 10:
            raise OSError(errno.ENOSPC, "no space left")
        copy(source, target)

    folder = library.parent / "backups"
    with monkeypatch.context() as patch:
        patch.setattr(backup_module, "_copy", refuses_the_tenth)
        with pytest.raises(StoreFull):
            back_up(library, NAME, folder)
    assert list(folder.iterdir()) == []
    assert len(studies_of(library)) == 10


# Is killed when it has copied some of the engine's files.
KILLED = """
import os, signal, sys
from pathlib import Path
from service.cases import backup
copy, copied = backup._copy, []
def copies_a_few(source, target):
    copied.append(source)
    if len(copied) == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    copy(source, target)
backup._copy = copies_a_few
backup.back_up(Path(sys.argv[1]), "studies", Path(sys.argv[2]))
"""


def test_a_backup_that_is_killed_leaves_nothing_that_looks_like_one(library):
    folder = library.parent / "backups"
    command = [sys.executable, "-c", KILLED, str(library), str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = folder.iterdir()
    assert left.name.startswith(".")
    with pytest.raises(StoreUnavailable, match="no backup"):
        restore(left, library.parent / "restored")
    backup = back_up(library, NAME, folder).path
    assert list(folder.iterdir()) == [backup]
    assert len(studies_of(library)) == 10


def test_a_snapshot_stays_while_its_process_lives_and_has_no_drafts(library):
    (library / NAME / "collection" / ".erasure.json.0a1b2c3d.part").write_text("{")
    with room_for_snapshot(library / NAME) as folder:
        remove_abandoned(library / NAME)
        take_snapshot(library / NAME / "collection", folder)
        names = {each.name for each in (library / NAME / "collection").glob("[!.]*")}
        assert {each.name for each in folder.iterdir()} == names
    assert not list((library / NAME).glob("*snapshot-*"))


def test_what_a_killed_backup_left_is_removed_though_nobody_writes(library, monkeypatch):
    monkeypatch.setattr(upkeep, "_SWEPT_S", 0.01)
    with room_for_snapshot(library / NAME) as folder:
        left = folder.with_name("snapshot-left")
        left.mkdir()
        descriptor = os.open(left, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        store = EdgeStore(library / NAME, IDENTITY)
        assert left.exists()
        os.close(descriptor)  # as at the end of a process
        end = time.monotonic() + TIMEOUT_S
        while left.exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        assert folder.exists()
        store.close()


# Is killed when it has made the folder of a snapshot, before it locks it.
BEGUN = """
import fcntl, os, signal, sys
from pathlib import Path
from service.cases.snapshot import room_for_snapshot
fcntl.flock = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with room_for_snapshot(Path(sys.argv[1])):
    pass
"""


def test_a_snapshot_that_had_hardly_begun_is_removed_as_well(library):
    command = [sys.executable, "-c", BEGUN, str(library / NAME)]
    assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == -signal.SIGKILL
    remove_abandoned(library / NAME)
    assert not list((library / NAME).glob("*snapshot-*"))


def test_a_folder_that_is_swept_before_it_is_locked_is_made_again(library, monkeypatch):
    lock, locked = fcntl.flock, []

    def sweeps_first(descriptor, how):
        locked.append(how)
        if len(locked) == 1:
            remove_abandoned(library / NAME)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", sweeps_first)
    with room_for_snapshot(library / NAME) as folder:
        remove_abandoned(library / NAME)
        assert folder.exists()
    assert not list((library / NAME).glob("*snapshot-*"))


# Writes without a pause, and says so once.
BUSY = """
import sys
from pathlib import Path
from service.cases.writing import WriteLock
lock = WriteLock(Path(sys.argv[1]))
while True:
    with lock.held():
        print("held", flush=True)
        sum(range(100_000))
"""


def test_a_process_that_writes_without_a_pause_lets_others_have_a_turn(tmp_path):
    command = [sys.executable, "-c", BUSY, str(tmp_path)]
    busy = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    try:
        assert busy.stdout.readline()
        threading.Thread(target=busy.stdout.read, daemon=True).start()
        lock = WriteLock(tmp_path)
        for _ in range(20):
            with lock.held(patience_s=TIMEOUT_S), lock.held():
                pass
    finally:
        busy.kill()
        busy.wait()


def test_a_file_is_copied_with_its_holes(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.write(b"start")
        file.seek(4 * MIB)
        file.write(b"end")
        file.truncate(9 * MIB)
    backup_module._copy(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks * 512 <= MIB
