"""A shard is rewritten while others read and write it, and a kill at any moment loses nothing."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as qdrant

from service.cases import generations, shard, vacuum
from service.cases.generations import link_files
from service.cases.shard import Shard, create
from tests.support import shards
from tests.support.disks import cached
from tests.support.shards import DIMENSION, config, ids, point, stored, update

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def folder(path):
    """Of an empty shard, in memory where there is room."""
    path.mkdir()
    create(path / "shard", config())
    return path / "shard"


@pytest.fixture
def opened(folder):
    with opening(folder) as each:
        yield each


@contextmanager
def opening(folder):
    each = Shard(folder)
    try:
        yield each
    finally:
        each.close()


def write(opened, numbers, value):
    opened.update(update.upsert_points([point(number, value) for number in numbers]))


def delete(opened, numbers):
    opened.update(update.delete_points(ids(numbers)))


def generation(folder):
    """The names in a shard's folder, without `current`."""
    return sorted(each.name for each in folder.iterdir() if each.name != "current")


def meanwhile(monkeypatch, opened, work):
    """Lets `work` happen while the files are rewritten."""
    rewrite = opened._vacuum.run

    def run(*arguments):
        work()
        rewrite(*arguments)

    monkeypatch.setattr(opened._vacuum, "run", run)


def test_updates_before_during_and_after_a_rewriting_are_kept(folder, monkeypatch):
    with opening(folder) as opened:
        for _ in range(50):  # the engine numbers updates; those of the new log go on from here
            write(opened, range(40), 1)
        delete(opened, range(5))
        meanwhile(
            monkeypatch,
            opened,
            lambda: (write(opened, range(8, 60), 2), delete(opened, [9, 50]), opened.sync_log()),
        )
        opened.rewrite()
        monkeypatch.undo()
        wanted = {5: 1, 6: 1, 7: 1, **dict.fromkeys({*range(8, 60)} - {9, 50}, 2)}
        assert stored(opened) == wanted
        write(opened, [5, 70], 3)
        delete(opened, [8])
        opened.rewrite()
        delete(opened, [6])
        del wanted[6], wanted[8]
        wanted |= {5: 3, 70: 3}
        assert stored(opened) == wanted
    assert generation(folder) == ["3"]
    with opening(folder) as opened:
        assert stored(opened) == wanted


def test_many_updates_of_the_meantime_are_repeated_with_room_and_in_order(opened, monkeypatch):
    asked = []

    @contextmanager
    def room():
        asked.append(len(opened._missed))
        yield

    meanwhile(monkeypatch, opened, lambda: [write(opened, [n % 7], n) for n in range(50)])
    opened.rewrite(room)
    assert asked == [50, 50, 34, 18, 2]
    assert stored(opened) == {n % 7: n for n in range(43, 50)}


def test_writers_wait_beyond_a_bound_until_the_new_segments_are_made(opened, monkeypatch):
    monkeypatch.setattr(shard, "_MOST_MISSED", 2)
    full = threading.Event()
    writer = threading.Thread(target=lambda: [write(opened, [n], n) for n in range(5)])

    class Missed(type(opened._missed)):
        def append(self, each):
            super().append(each)
            if len(self) == 2:
                full.set()

    def work():
        writer.start()
        assert full.wait(60)
        assert len(opened._missed) == 2

    monkeypatch.setattr(opened, "_missed", Missed())
    meanwhile(monkeypatch, opened, work)
    opened.rewrite()
    writer.join()
    assert stored(opened) == {n: n for n in range(5)}


def test_nothing_that_was_deleted_before_is_in_any_file_afterwards(folder, opened, monkeypatch):
    words = [b"deleted-qxv", b"replaced-wfp", b"kept-kzj"]
    for number, word in enumerate(words):
        payload = {"v": number, "text": word.decode() * 3}
        opened.update(update.upsert_points([point(number, 0, payload)]))
    write(opened, range(3, 40), 1)
    delete(opened, [0])
    write(opened, [1], 2)

    def found():
        contents = [each.read_bytes() for each in folder.rglob("*") if each.is_file()]
        return [word for word in words if any(word in content for content in contents)]

    assert found() == words
    meanwhile(monkeypatch, opened, lambda: write(opened, range(20, 30), 3))
    opened.rewrite()
    assert found() == [b"kept-kzj"]


def test_who_reads_keeps_the_old_generation_until_it_leaves(folder, opened):
    write(opened, range(10), 1)
    rewriting = threading.Thread(target=opened.rewrite)
    with opened.use() as old:
        rewriting.start()
        while opened._used.engine is old:
            time.sleep(0.01)
        write(opened, range(10), 2)
        assert shards.payloads(old) == dict.fromkeys(range(10), 1)
        assert stored(opened) == dict.fromkeys(range(10), 2)
        assert generation(folder) == ["1", "2"]
    rewriting.join()
    assert generation(folder) == ["2"]


def test_readers_and_writers_go_on_while_rewritings_run(opened):
    """Three writers own numbers of their own; two readers see values that only grow."""
    write(opened, range(30), 0)
    ended, wrong, written = threading.Event(), [], [0, 0, 0]

    def guarded(work):
        try:
            while not ended.is_set():
                work()
        except BaseException as error:  # whatever it is, the test shows it
            wrong.append(error)
            raise

    def writing(own):
        written[own] += 1
        opened.update(update.delete_points(ids([own * 10 + 1])))
        write(opened, range(own * 10, own * 10 + 10), written[own])
        opened.sync_log()

    seen = [0, 0]

    def reading(own):
        with opened.use() as engine:
            value = shards.payloads(engine)[0]
            hits = engine.query(qdrant.QueryRequest(limit=5, query=shards.query(3)))
        if value < seen[own] or len(hits) != 5:
            wrong.append((value, seen, hits))
        seen[own] = value

    works = [lambda n=n: writing(n) for n in range(3)] + [lambda n=n: reading(n) for n in range(2)]
    threads = [threading.Thread(target=guarded, args=[work]) for work in works]
    for each in threads:
        each.start()
    for _ in range(2):
        opened.rewrite()
    ended.set()
    for each in threads:
        each.join()
    assert wrong == []
    assert stored(opened) == {n: written[n // 10] for n in range(30)}


def failing_room():
    raise OSError("no room")


@pytest.mark.parametrize("fails", ["copy", "vacuum", "sync", "room", "opening", "counting"])
def test_a_rewriting_that_fails_leaves_the_shard_as_it_was(folder, opened, monkeypatch, fails):
    write(opened, range(20), 1)
    delete(opened, [3])

    def fail(*_):
        write(opened, [7, 50], 2)
        raise OSError("injected")

    room = failing_room if fails == "room" else None
    match fails:
        case "copy":
            monkeypatch.setattr(generations, "copy_file", lambda *_: failing_room())
        case "vacuum":
            monkeypatch.setattr(vacuum, "__file__", "/no/such/program.py")
        case "sync":
            monkeypatch.setattr(shard, "sync_files", fail)
        case "opening":
            monkeypatch.setattr(shard, "_Generation", fail)
        case "counting":
            monkeypatch.setattr(shard._Generation, "holds_as_many_points_as", lambda *_: False)
    with pytest.raises((OSError, RuntimeError, subprocess.CalledProcessError)):
        opened.rewrite(*([room] if room else []))
    monkeypatch.undo()
    assert generation(folder) == ["1"]
    changed = {7: 2, 50: 2} if fails in ("sync", "opening") else {}
    wanted = dict.fromkeys({*range(20)} - {3}, 1) | changed
    assert stored(opened) == wanted
    write(opened, [0], 3)
    opened.rewrite()
    assert stored(opened) == wanted | {0: 3}


def test_an_error_after_the_switch_keeps_the_new_generation(folder, monkeypatch):
    """A folder that cannot be synced: its list of names may still name the new generation."""
    with opening(folder) as opened:
        write(opened, range(5), 1)
        use = opened._generations.use

        def use_and_fail(each):
            use(each)
            raise OSError("injected")

        monkeypatch.setattr(opened._generations, "use", use_and_fail)
        with pytest.raises(OSError, match="injected"):
            opened.rewrite()
        write(opened, [0, 9], 2)
    with opening(folder) as opened:
        assert stored(opened) == {**dict.fromkeys(range(1, 5), 1), 0: 2, 9: 2}


def test_closing_gives_up_a_rewriting(folder, tmp_path, monkeypatch):
    (tmp_path / "endless.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(vacuum, "__file__", str(tmp_path / "endless.py"))
    opened, errors = Shard(folder), []
    write(opened, range(5), 1)

    def rewrite():
        try:
            opened.rewrite()
        except subprocess.CalledProcessError as error:
            errors.append(error)

    rewriting = threading.Thread(target=rewrite)
    rewriting.start()
    while not opened._vacuum._process:
        time.sleep(0.01)
    opened.close()
    rewriting.join()
    assert [error.returncode for error in errors] == [-signal.SIGKILL]
    with pytest.raises(RuntimeError, match="closed"):
        opened.rewrite()
    with opening(folder) as again:
        assert stored(again) == dict.fromkeys(range(5), 1)


def test_a_shard_of_an_earlier_release_opens_and_is_rewritten(path):
    path.mkdir()
    engine = qdrant.EdgeShard.create(str(path / "shard"), config())
    engine.update(update.upsert_points([point(number, 1) for number in range(9)]))
    engine.flush()
    engine.close()
    (path / "shard" / "temp_segments").mkdir()
    with opening(path / "shard") as opened:
        assert generation(path / "shard") == ["edge_config.json", "segments", "wal"]
        delete(opened, [2])
        opened.rewrite()
        assert generation(path / "shard") == ["1"]
        assert stored(opened) == dict.fromkeys({*range(9)} - {2}, 1)


def test_segments_that_a_killed_process_of_an_earlier_release_put_aside_are_used(path):
    path.mkdir()
    engine = qdrant.EdgeShard.create(str(path / "shard"), config())
    engine.update(update.upsert_points([point(number, 1) for number in range(9)]))
    engine.flush()
    engine.close()
    (path / "shard" / "segments").rename(path / "retired")
    (path / "rewritten-0a1b" / "segments").mkdir(parents=True)
    with opening(path / "shard") as opened:
        assert stored(opened) == dict.fromkeys(range(9), 1)
    assert [each.name for each in path.iterdir()] == ["shard"]


def test_what_a_killed_process_left_is_removed(folder):
    (folder / "7" / "segments").mkdir(parents=True)
    (folder / ".current.0a1b2c3d.part").write_text("7\n")
    Shard(folder).close()
    assert sorted(each.name for each in folder.iterdir()) == ["1", "current"]


def test_points_without_a_graph_are_counted(folder):
    with opening(folder) as opened:
        write(opened, range(600), 1)
        assert opened.unindexed == 600
        opened.rewrite()
        assert opened.unindexed == 0
        delete(opened, range(300))
        write(opened, range(600, 700), 1)
        assert opened.unindexed == 100
    with opening(folder) as opened:
        assert opened.unindexed == 100
        opened.rewrite(threads=1)
        assert opened.unindexed == 0


def test_a_new_generation_is_in_the_cache_of_the_system(tmp_path):
    """The engine drops what it closes: a copy, and files that two generations share."""
    create(tmp_path / "shard", config())
    with opening(tmp_path / "shard") as opened:
        write(opened, range(600), 1)
        for _ in range(2):
            opened.rewrite()
            (vectors,) = (tmp_path / "shard").rglob("matrix.dat")
            assert cached(vectors)


def test_a_rewriting_without_work_leaves_segments_with_a_graph(folder, opened):
    write(opened, range(600), 1)
    opened.rewrite()
    graphs = [each.parents[1].name for each in folder.glob("2/segments/*/*/graph.bin")]
    opened.rewrite(threads=2)
    assert graphs
    assert [each.parents[1].name for each in folder.glob("3/segments/*/*/graph.bin")] == graphs


def contents(folder):
    """Returns inode and hash of each file below a folder."""
    files = [each for each in folder.rglob("*") if each.is_file()]
    return {
        str(each.relative_to(folder)): (
            each.stat().st_ino,
            hashlib.sha256(each.read_bytes()).hexdigest(),
        )
        for each in files
    }


def change(engine, first):
    """Deletes, replaces and alters points from `first` on, in all ways that an engine has."""

    def some():
        nonlocal first
        first += 10
        return range(first - 10, first)

    changed = qdrant.Filter(must=[qdrant.HasIdCondition({*ids(some())})])
    vectors = [qdrant.PointVectors(each, {"image": [1.0] * DIMENSION}) for each in ids(some())]
    engine.update(update.delete_points(ids(some())))
    engine.update(update.upsert_points([point(number, 2) for number in some()]))
    engine.update(update.set_payload_by_filter(changed, {"text": "another" * 50}))
    engine.update(update.overwrite_payload(ids(some()), {"v": 3}))
    engine.update(update.delete_payload(ids(some()), ["text"]))
    engine.update(update.clear_payload(ids(some())))
    engine.update(update.delete_vectors(ids(some()), ["words"]))
    engine.update(update.update_vectors(vectors))
    engine.flush()


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_file_that_two_generations_share_never_changes(path, on_disk):
    source, target = path / "source", path / "target"
    path.mkdir()
    engine = qdrant.EdgeShard.create(str(source), config(on_disk=on_disk))
    for key in ("v", "text"):
        index = qdrant.KeywordIndexParams(on_disk=on_disk)
        engine.update(update.create_field_index(key, index))
    engine.update(update.upsert_points([point(number, 1) for number in range(600)]))
    engine.flush()
    assert engine.optimize()
    engine.update(update.upsert_points([point(number, 1) for number in range(600, 650)]))
    engine.flush()
    target.mkdir()
    link_files(source, target)
    before, copied = contents(source), contents(target)
    assert {name: each[1] for name, each in before.items()} == {
        name: each[1] for name, each in copied.items()
    }
    shared = {name for name in before if before[name][0] == copied[name][0]}
    assert {"id_tracker.mappings", "matrix.dat", "quantized.data"} - {
        Path(name).name for name in shared
    } <= (set() if on_disk else {"quantized.data"})
    assert not any(name.startswith("wal") for name in shared)
    copy = qdrant.EdgeShard.load(str(target))
    change(engine, 0)
    change(copy, 100)
    for each in (engine, copy):
        each.close()
    for start, folder in ((200, source), (300, target)):
        again = qdrant.EdgeShard.load(str(folder))
        change(again, start)
        again.close()
    for folder in (source, target):
        after = contents(folder)
        assert {name: after[name] for name in shared} == {name: before[name] for name in shared}


def test_a_copy_takes_no_more_of_the_disk_than_its_source(tmp_path):
    """The engine's pages of 32 MiB are mostly holes. Content after a hole is copied too."""
    create(tmp_path / "shard", config())
    engine = qdrant.EdgeShard.load(str(tmp_path / "shard" / "1"))
    engine.update(update.upsert_points([point(number, 1) for number in range(50)]))
    engine.close()
    with (tmp_path / "shard" / "1" / "segments" / "holes").open("wb") as file:
        file.truncate(2**26)
        file.seek(2**25 + 5)
        file.write(b"after a hole")
    (tmp_path / "copy").mkdir()
    link_files(tmp_path / "shard" / "1", tmp_path / "copy")

    def taken(folder):
        return sum(each.stat().st_blocks for each in folder.rglob("*")) * 512

    assert taken(tmp_path / "copy") <= taken(tmp_path / "shard" / "1") + 2**20
    assert contents(tmp_path / "copy").keys() == contents(tmp_path / "shard" / "1").keys()
    hashes = [
        {name: each[1] for name, each in contents(folder).items()}
        for folder in (tmp_path / "copy", tmp_path / "shard" / "1")
    ]
    assert hashes[0] == hashes[1]


@pytest.mark.slow
def test_kill_9_at_any_moment_of_writes_and_rewritings_loses_nothing(folder):
    """The killed process tells of each durable update; the one after it may be there or not."""
    moments, wanted, first = random.Random(0), {}, 0
    for _ in range(8):
        command = [sys.executable, "-m", "tests.support.shards", str(folder), str(first)]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
        told = os.read(process.stdout.fileno(), 1)
        time.sleep(moments.uniform(0, 2))
        process.kill()
        told += process.communicate()[0]
        assert set(told) == {ord(".")}
        for number in range(first, first + len(told)):
            shards.change(wanted, number)
        first += len(told)
        more = dict(wanted)
        shards.change(more, first)
        with opening(folder) as opened:
            found = stored(opened)
            assert found in (wanted, more)
            if found == more:
                wanted, first = more, first + 1
            vector = np.asarray(shards.vector(7), np.float32)
            if 7 in wanted:
                np.testing.assert_allclose(shards.vector_of(opened, 7), vector, atol=1e-3)
    assert first > 100
