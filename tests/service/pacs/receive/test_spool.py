import hashlib
import os
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.errors import ObjectDamaged, SettingInvalid, StoreFull, StoreUnavailable
from service.pacs.receive import spool as spools
from service.pacs.receive.sealed_file import BLOCK, holds, seal, sealed_size, unseal
from service.pacs.receive.spool import Spool, spool_key
from service.settings import Settings
from tests.support.disks import fill, small_disk
from tests.support.paths import ROOT

KEY = bytes(range(32))
LIMIT = 2**28
SIZES = st.sampled_from([0, 1, BLOCK - 9, BLOCK - 8, BLOCK - 7, 2**20 - 4, 2**20, 2**20 + 1])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def spool(folder):
    opened = Spool(folder, KEY, LIMIT)
    yield opened
    opened.close()


def kept_files(folder):
    return sorted(each for each in folder.iterdir() if "-" in each.name)


def test_what_is_kept_is_read_as_it_was(spool):
    name = spool.keep(b"content")
    assert spool.read(name) == b"content"
    assert spool.names() == [name]


def test_names_are_in_order_of_arrival_also_after_a_restart(folder):
    first = Spool(folder, KEY, LIMIT)
    early = [first.keep(bytes([each])) for each in range(12)]
    first.drop(early[:2])
    first.close()
    second = Spool(folder, KEY, LIMIT)
    late = [second.keep(bytes([each])) for each in range(12, 20)]
    assert [second.read(name)[0] for name in second.names()] == list(range(2, 20))
    assert second.names() == early[2:] + late
    second.close()


def test_a_dropped_object_is_gone_and_frees_its_room(spool, folder):
    names = [spool.keep(b"a"), spool.keep(b"b")]
    assert spool.held_bytes == sum(each.stat().st_size for each in kept_files(folder))
    spool.drop(names)
    spool.drop(names)
    assert (spool.names(), spool.held_bytes, kept_files(folder)) == ([], 0, [])


def test_files_tell_nothing_of_what_they_hold(spool, folder):
    contents = [b"MARKED^NAME" * 10, b"MARKED^NAME" * 100, b"MARKED^NAME" * 10]
    for content in contents:
        spool.keep(content)
    files = kept_files(folder)
    assert len({each.stat().st_size for each in files}) == 1
    assert len({each.name.partition("-")[2] for each in files}) == 3
    written = [each.read_bytes() for each in files]
    assert not any(b"MARKED" in each for each in written)
    assert written[0][20:] != written[2][20:]


def test_only_its_owner_may_read_it(spool, folder):
    spool.keep(b"content")
    modes = {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir() if each.is_file()}
    assert modes == {0o600}
    folders = (folder, folder / "damaged")
    assert {stat.S_IMODE(each.stat().st_mode) for each in folders} == {0o700}


@given(size=SIZES, extra=st.binary(max_size=20))
def test_any_content_comes_back(tmp_path_factory, size, extra):
    path, content = tmp_path_factory.mktemp("sealed") / "file", os.urandom(size) + extra
    seal(path, "name", KEY, content)
    assert unseal(path, "name", KEY) == content
    assert holds(path, "name", KEY, content)
    assert not holds(path, "name", KEY, content + b"\0")
    assert not holds(path, "other", KEY, content)
    assert path.stat().st_size == sealed_size(len(content))


class Histories(RuleBasedStateMachine):
    """Any order of keeping, reading, dropping, damaging and restarting, against a plain dict."""

    base: Path

    def __init__(self):
        super().__init__()
        self.folder = self.base / os.urandom(8).hex()
        self.kept, self.damaged = {}, 0
        self.spool = Spool(self.folder, KEY, LIMIT)

    @rule(content=st.binary(max_size=200))
    def keep(self, content):
        self.kept[self.spool.keep(content)] = content

    @rule()
    def restart(self):
        (self.folder / ".half.0123.part").write_bytes(b"half")
        self.spool.close()
        self.spool = Spool(self.folder, KEY, LIMIT)
        assert not list(self.folder.glob(".*"))

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def drop(self, data):
        name = data.draw(st.sampled_from(sorted(self.kept)))
        self.spool.drop([name])
        del self.kept[name]

    @precondition(lambda self: self.kept)
    @rule(data=st.data(), cut=st.booleans(), place=st.integers(0, 65571))
    def damage(self, data, cut, place):
        name = data.draw(st.sampled_from(sorted(self.kept)))
        written = bytearray((self.folder / name).read_bytes())
        if cut:
            del written[place:]
        else:
            written[place] ^= 1
        (self.folder / name).write_bytes(written)
        with pytest.raises(ObjectDamaged):
            self.spool.read(name)
        del self.kept[name]
        self.damaged += 1

    @invariant()
    def holds_what_was_kept(self):
        assert self.spool.names() == list(self.kept)
        assert {name: self.spool.read(name) for name in self.kept} == self.kept
        assert self.spool.damaged == self.damaged

    def teardown(self):
        self.spool.close()


@pytest.mark.slow
def test_any_history_keeps_what_it_should(tmp_path, monkeypatch):
    monkeypatch.setattr(Histories, "base", tmp_path, raising=False)
    few = settings(max_examples=20, stateful_step_count=15)
    run_state_machine_as_test(Histories, settings=few)


def test_a_file_under_another_name_is_damaged(spool, folder):
    first, second = spool.keep(b"first"), spool.keep(b"second")
    (folder / first).replace(folder / second)
    with pytest.raises(ObjectDamaged):
        spool.read(second)
    with pytest.raises(ObjectDamaged):
        spool.read(first)
    assert spool.names() == []


def test_a_damaged_file_stays_for_the_operator_and_returns_once_it_is_repaired(spool, folder):
    name = spool.keep(b"content")
    sound = (folder / name).read_bytes()
    (folder / name).write_bytes(sound[:-1])
    with pytest.raises(ObjectDamaged) as caught:
        spool.read(name)
    assert name not in caught.value.detail
    aside = folder / "damaged" / name
    assert aside.read_bytes() == sound[:-1]
    spool.close()
    aside.unlink()
    (folder / name).write_bytes(sound)
    again = Spool(folder, KEY, LIMIT)
    assert again.read(name) == b"content"
    again.close()


def test_a_spool_of_another_key_is_not_opened_and_not_touched(folder):
    first = Spool(folder, KEY, LIMIT)
    name = first.keep(b"content")
    first.close()
    with pytest.raises(StoreUnavailable, match="key of the spool"):
        Spool(folder, KEY[::-1], LIMIT)
    again = Spool(folder, KEY, LIMIT)
    assert again.read(name) == b"content"
    again.drop([name])
    again.close()
    Spool(folder, KEY[::-1], LIMIT).close()


def test_one_process_has_a_spool(spool, folder):
    assert not spool.full
    with pytest.raises(StoreUnavailable, match="Another process"):
        Spool(folder, KEY, LIMIT)


def test_beyond_the_limit_nothing_is_kept(folder):
    spool = Spool(folder, KEY, 4 * sealed_size(1))
    names = []
    while not spool.full:
        names.append(spool.keep(b"x"))
    assert len(names) == 4
    with pytest.raises(StoreFull) as caught:
        spool.keep(b"x")
    assert caught.value.retry_after_s
    assert spool.names() == names
    spool.drop(names[:1])
    spool.keep(b"x")
    spool.close()


def test_many_threads_share_the_limit(folder):
    spool = Spool(folder, KEY, 10 * sealed_size(1))

    def keep(number):
        try:
            return spool.keep(b"%d" % number)
        except StoreFull:
            return None

    with ThreadPoolExecutor(8) as pool:
        names = list(filter(None, pool.map(keep, range(30))))
    assert len(names) == 10
    assert spool.names() == sorted(names)
    assert spool.held_bytes == 10 * sealed_size(1)
    spool.close()


def test_a_full_disk_is_said_and_nothing_half_is_left(tmp_path):
    with small_disk(tmp_path / "disk", 8) as disk:
        spool = Spool(disk / "spool", KEY, LIMIT)
        name = spool.keep(b"early")
        fill(disk, left=2**19)
        assert spool.full
        with pytest.raises(StoreFull):
            spool.keep(bytes(2**20))
        (disk / "filler").unlink()
        held = spool.held_bytes
        fill(disk, left=2**20)
        spool._reserve.require = lambda _: None  # as if the disk had filled meanwhile
        with pytest.raises(StoreFull):
            spool.keep(bytes(2**21))
        assert (spool.held_bytes, spool.names()) == (held, [name])
        assert len(list((disk / "spool").iterdir())) == 4
        assert spool.read(name) == b"early"
        (disk / "filler").unlink()
        spool.keep(bytes(2**20))
        spool.close()


def test_half_of_the_reserve_stays_free(tmp_path):
    with small_disk(tmp_path / "disk", 8) as disk:
        spool = Spool(disk / "spool", KEY, LIMIT, reserve_bytes=2 * 2**20)
        fill(disk, left=2**20 + 2**17)
        spool.keep(b"small")
        with pytest.raises(StoreFull):
            spool.keep(bytes(2**18))
        spool.close()


def test_what_the_disk_gives_back_otherwise_is_not_acknowledged(spool, folder, monkeypatch):
    monkeypatch.setattr(spools, "holds", lambda *_: False)
    with pytest.raises(StoreUnavailable, match="other bytes"):
        spool.keep(b"content")
    assert (spool.names(), spool.held_bytes, kept_files(folder)) == ([], 0, [])


def test_a_large_object_takes_little_memory_besides_itself(spool):
    content = os.urandom(48 * 2**20)
    tracemalloc.start()
    name = spool.keep(content)
    _, keeping = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    assert len(spool.read(name)) == len(content)
    _, reading = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert keeping < 8 * 2**20
    assert reading < 1.3 * len(content)


def test_the_key_is_made_once_and_is_the_owners(tmp_path):
    own = Settings(data_dir=tmp_path)
    key = spool_key(own)
    assert len(key) == 32
    assert spool_key(own) == key
    assert stat.S_IMODE((tmp_path / "spool.key").stat().st_mode) == 0o600


def test_a_named_key_file_is_used_and_never_made(tmp_path):
    named = tmp_path / "elsewhere"
    own = Settings(data_dir=tmp_path / "data", spool_key_file=named)
    with pytest.raises(SettingInvalid, match="ECLIP_SPOOL_KEY_FILE"):
        spool_key(own)
    assert not named.exists()
    named.write_text("ab" * 32 + "\n")
    assert spool_key(own) == b"\xab" * 32
    named.write_text("ab" * 31)
    with pytest.raises(SettingInvalid, match="64 hexadecimal digits"):
        spool_key(own)


KEEPING = """
import hashlib, os, sys, threading
from pathlib import Path
from service.pacs.receive.spool import Spool
spool = Spool(Path(sys.argv[1]), bytes(range(32)), 2**30)
def keep_on():
    while True:
        content = os.urandom(1 + int.from_bytes(os.urandom(2)) * 8)
        line = spool.keep(content) + " " + hashlib.sha256(content).hexdigest() + "\\n"
        os.write(1, line.encode())
for _ in range(4):
    threading.Thread(target=keep_on).start()
"""


@pytest.mark.slow
def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path):
    folder, acknowledged = tmp_path / "spool", {}
    for more in (1, 7, 20, 33, 50):
        output = tmp_path / "output"
        with output.open("wb") as file:
            keeping = subprocess.Popen(
                [sys.executable, "-c", KEEPING, str(folder)], stdout=file, cwd=ROOT
            )
        killer = threading.Timer(60, keeping.kill)  # a process that hangs fails the test
        killer.start()
        while output.read_bytes().count(b"\n") < more and keeping.poll() is None:
            time.sleep(0.002)
        keeping.kill()
        keeping.wait()
        killer.cancel()
        lines = output.read_text().splitlines()
        assert len(lines) >= more
        acknowledged |= dict(line.split() for line in lines)
    spool = Spool(folder, KEY, 2**30)
    names = spool.names()
    assert set(names) >= acknowledged.keys()
    assert len(names) <= len(acknowledged) + 4 * 5
    for name in names:
        digest = hashlib.sha256(spool.read(name)).hexdigest()
        assert acknowledged.get(name, digest) == digest
    assert not list(folder.glob(".*"))
    spool.close()
