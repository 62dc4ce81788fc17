"""The embedded library: restarts, crashes, and whom it refuses."""

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from service.cases import edge, layout, shard, upkeep, vacuum
from service.cases.edge import EdgeStore
from service.cases.room import Room
from service.cases.schema import CaseFilter, Exclusion, Identity, Search
from service.cases.upkeep import Upkeep
from service.errors import BundleMismatch, StoreFull, StoreUnavailable
from tests.support.disks import cached, fill, small_disk

ANYTHING = {"where": CaseFilter(), "exclude": Exclusion()}
REPOSITORY = Path(__file__).parents[3]
IDENTITY = Identity("b" * 64, "k" * 16, dimension=16)
STUDIES = 120
ALL_IDS = [f"s{n}" for n in range(STUDIES)]

# Indexes the studies that are not yet there, and says which are on disk after every put.
INGEST = """
import importlib.util, sys
from pathlib import Path
conftest, library, version, studies = sys.argv[1:]
spec = importlib.util.spec_from_file_location("conftest", conftest)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
version = int(version)
wanted = [
    module.embedded_study(f"s{n}", version=version, sections=("findings",) * (6 - 2 * version))
    for n in range(int(studies))
]
store = module.EdgeStore(Path(library), module.IDENTITY, bulk=True)
known = store.digests(e.study.study_id for e in wanted)
missing = [e for e in wanted if known.get(e.study.study_id) != e.study.digest]
print("start", flush=True)
for first in range(0, len(missing), 3):
    batch = missing[first : first + 3]
    store.put(batch)
    print(*(e.study.study_id for e in batch), flush=True)
print("done", flush=True)
store.close()
"""


def ingest(library: Path, version: int = 1) -> subprocess.Popen[str]:
    arguments = [Path(__file__).with_name("conftest.py"), library, str(version), str(STUDIES)]
    return subprocess.Popen(
        [sys.executable, "-c", INGEST, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )


def kill_at_random(process: subprocess.Popen[str], rng: random.Random) -> set[str]:
    """Kill -9 in mid-ingest; the ids of studies whose writing was reported before."""
    assert process.stdout.readline() == "start\n"
    reported = [process.stdout.readline() for _ in range(rng.randint(0, 5))]
    time.sleep(rng.uniform(0, 0.003))
    process.kill()
    reported += process.communicate()[0].splitlines()
    assert "done" not in reported
    return {study_id for line in reported for study_id in line.split()}


def parts_by_study(store, vector) -> dict[str, list[str]]:
    hits = [
        hit
        for target in ("image", "report", "passage")
        for hit in store.search(Search(target, vector("any")), k=10_000, **ANYTHING)
    ]
    return {
        study_id: sorted(
            hit.text or f"image {hit.image_index}" for hit in hits if hit.study_id == study_id
        )
        for study_id in {hit.study_id for hit in hits}
    }


def version_of(study, study_id: str, version: int):
    return study(study_id, version=version, sections=("findings",) * (6 - 2 * version))


def parts_of(embedded) -> list[str]:
    study = embedded.study
    texts = [passage.text for passage in study.passages]
    return sorted([study.report, *texts, *(f"image {index}" for index in range(len(study.images)))])


def test_a_library_survives_a_restart(open_edge, study, vector):
    store = open_edge()
    store.put([study("s"), study("t")])
    before = store.search(Search("passage", vector("any")), k=10, **ANYTHING)
    store.close()
    store = open_edge()
    assert store.get("s") == study("s").study
    assert store.search(Search("passage", vector("any")), k=10, **ANYTHING) == before
    store.close()


@pytest.mark.slow
def test_after_kill_9_every_study_is_whole_or_absent_and_a_second_run_completes(
    open_edge, study, vector, path
):
    rng = random.Random(0)
    for _ in range(3):
        acknowledged = kill_at_random(ingest(path), rng)
        store = open_edge()
        digests = store.digests(ALL_IDS)
        parts = parts_by_study(store, vector)
        assert acknowledged <= digests.keys() == parts.keys()
        assert store.count() == len(digests)
        for study_id in digests:
            assert store.get(study_id) == version_of(study, study_id, 1).study
            assert parts[study_id] == parts_of(version_of(study, study_id, 1))
        store.close()
    assert ingest(path).communicate()[0].endswith("done\n")
    store = open_edge()
    assert store.count() == STUDIES
    assert sum(map(len, parts_by_study(store, vector).values())) == STUDIES * 6
    store.close()


@pytest.mark.slow
def test_kill_9_in_a_replacement_loses_no_study_and_half_a_replacement_has_no_digest(
    open_edge, study, vector, path
):
    rng = random.Random(1)
    ingest(path, version=1).communicate()
    for _ in range(3):
        acknowledged = kill_at_random(ingest(path, version=2), rng)
        store = open_edge()
        digests = store.digests(ALL_IDS)
        parts = parts_by_study(store, vector)
        assert store.count() == STUDIES
        assert {digests[study_id][-1] for study_id in acknowledged} <= {"2"}
        for study_id in ALL_IDS:
            stored = store.get(study_id)
            version = int(stored.report[-2])
            whole = version_of(study, study_id, version)
            if study_id in digests:
                assert stored == whole.study
                assert parts[study_id] == parts_of(whole)
            else:
                assert version == 1
                assert stored == replace(whole.study, digest="")
                newer = version_of(study, study_id, 2)
                assert set(parts[study_id]) <= {*parts_of(whole), *parts_of(newer)}
        store.close()
    assert ingest(path, version=2).communicate()[0].endswith("done\n")
    store = open_edge()
    assert store.count() == STUDIES
    assert sum(map(len, parts_by_study(store, vector).values())) == STUDIES * 4
    store.close()


def test_a_second_process_is_refused_while_the_first_lives(edge, path):
    open_again = (
        "from pathlib import Path; from service.cases.edge import EdgeStore; "
        "from service.cases.schema import Identity; "
        f"EdgeStore(Path({str(path)!r}), Identity('b', 'k', 16))"
    )
    second = subprocess.run(
        [sys.executable, "-c", open_again], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert "StoreUnavailable: Another process has this case library open" in second.stderr
    edge.check()


def test_a_second_store_in_the_same_process_is_refused_until_the_first_is_closed(open_edge):
    first = open_edge()
    with pytest.raises(StoreUnavailable, match="Another process"):
        open_edge()
    first.close()
    open_edge().close()


def test_the_library_of_another_bundle_is_refused_and_released(open_edge):
    open_edge().close()
    with pytest.raises(BundleMismatch, match="bundle bbbbbbbbbbbb, not cccccccccccc"):
        open_edge(bundle_id="c" * 64)
    open_edge().close()


def test_the_library_of_another_hash_key_is_refused(open_edge):
    open_edge().close()
    with pytest.raises(BundleMismatch, match="hash key"):
        open_edge(key_fingerprint="other")


def test_a_library_without_its_identity_is_refused_and_left_alone(open_edge, study, path):
    store = open_edge()
    store.put([study("s")])
    store.close()
    identity = path / "collection" / "identity.json"
    kept = identity.read_text()
    for damaged in ("", "{", "[]", json.dumps({"bundle_id": "b"})):
        identity.write_text(damaged)
        with pytest.raises(StoreUnavailable, match="missing or damaged"):
            open_edge()
    identity.write_text(kept)
    store = open_edge()
    assert store.count() == 1
    store.close()


def test_a_library_without_the_folder_of_a_kind_is_refused_by_its_name(open_edge, path):
    open_edge().close()
    shutil.rmtree(path / "collection" / "report")
    with pytest.raises(StoreUnavailable, match="are missing: it has no folder collection/report"):
        open_edge()


def test_a_creation_cut_short_leaves_no_collection(open_edge, path):
    draft = path / ".collection.0a1b2c3d.part" / "shard"
    draft.mkdir(parents=True)
    (draft / "half").write_text("written")
    store = open_edge()
    assert store.count() == 0
    assert not draft.exists()
    store.close()


def test_files_the_engine_cannot_read_make_the_store_unavailable(open_edge, path):
    open_edge().close()
    for file in (path / "collection" / "report").rglob("*.json"):
        file.write_text("damaged")
    with pytest.raises(StoreUnavailable, match="engine failed"):
        open_edge()


@pytest.mark.parametrize("lost", ["current", "1/segments", "1/edge_config.json", "."])
def test_a_library_that_lacks_files_is_refused_and_keeps_the_others(open_edge, study, path, lost):
    store = open_edge()
    store.put([study("s")])
    store.close()
    images, kept = path / "collection" / "image", path.with_name("kept")
    (images / lost).rename(kept)
    left = sorted(images.rglob("*"))
    with pytest.raises(StoreUnavailable, match="are missing"):
        open_edge()
    assert sorted(images.rglob("*")) == left
    kept.rename(images / lost)
    store = open_edge()
    assert store.get_many(["s"])
    store.close()


def test_a_closed_store_is_unavailable(open_edge, vector):
    store = open_edge()
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable):
        store.check()
    with pytest.raises(StoreUnavailable):
        store.search(Search("passage", vector("any")), k=1, **ANYTHING)


def test_readers_and_writers_on_many_threads_do_not_disturb_each_other(edge, study, vector):
    errors = []

    def guarded(work):
        try:
            work()
        except Exception as error:
            errors.append(error)

    def write(first):
        for n in range(first, first + 15):
            edge.put([study(f"s{n}", version=1), study("shared", version=first)])

    def read():
        for _ in range(60):
            edge.search(Search("passage", vector("any")), k=5, group_by_study=True, **ANYTHING)
            edge.digests(["s0", "s100"])

    threads = [threading.Thread(target=guarded, args=[lambda n=n: write(n)]) for n in (0, 100)]
    threads += [threading.Thread(target=guarded, args=[read]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert edge.count() == 31
    hits = edge.search(Search("passage", vector("any")), k=1000, **ANYTHING)
    assert len(hits) == 62


@pytest.mark.slow
@pytest.mark.parametrize("bulk", [True, False])
def test_graphs_are_built_at_the_end_of_bulk_work_and_meanwhile_in_a_living_library(
    open_edge, study, vector, path, monkeypatch, bulk
):
    monkeypatch.setattr(layout, "SCANNED", 50)
    monkeypatch.setattr(upkeep, "SCANNED", 50)
    monkeypatch.setattr(upkeep, "_BUILT_S", 0.01)
    monkeypatch.setattr(edge, "DUE_LIVING", 50)
    store = open_edge(bulk=bulk, erases=True)
    for first in range(0, 100, 20):
        store.put([study(f"s{n}") for n in range(first, first + 20)])
    if bulk:
        store.build_graphs()
    graphs = "collection/passage/*/segments/*/vector_index-passage/graph.bin"
    wait_until(lambda: list(path.glob(graphs)))
    assert store.count() == 100
    hits = store.search(Search("passage", vector("s42/1/passage/1")), k=1, **ANYTHING)
    assert hits[0].study_id == "s42"
    assert hits[0].score == pytest.approx(1, abs=1e-3)
    store.close()


def test_records_of_many_studies_are_closed_and_change_as_before(
    open_edge, study, path, monkeypatch
):
    """An open segment of records has its index in memory."""
    for module in (layout, upkeep):
        monkeypatch.setattr(module, "SCANNED", 50)
    small = partial(study, sections=(), report=False)
    store = open_edge()
    store.put([small(f"s{number}") for number in range(200)])
    assert store._shards["study"].unindexed == 200
    store.build_graphs()
    (closed,) = path.glob("collection/study/*/segments/*/id_tracker.mappings")
    assert store._shards["study"].unindexed == 0
    store.put([small("s5", version=2), small("s200")])
    assert store.delete("s6")
    store.erase()
    assert not closed.exists()
    store.close()
    store = open_edge()
    expected = {f"s{number}": f"digest of s{number}/1" for number in range(201) if number != 6}
    assert store.digests(f"s{number}" for number in range(201)) == expected | {
        "s5": "digest of s5/2"
    }
    assert store.count() == 200
    assert store.get("s5") == small("s5", version=2).study
    store.close()


def test_files_of_a_large_library_are_read_before_they_are_searched(study, tmp_path, monkeypatch):
    """The engine drops them from the system's memory when it closes."""
    for module in (layout, upkeep):
        monkeypatch.setattr(module, "SCANNED", 50)
    store = EdgeStore(tmp_path, IDENTITY, bulk=True)
    store.put([study(f"s{number}", sections=()) for number in range(100)])
    store.build_graphs()
    store.close()
    (vectors,) = tmp_path.glob("collection/image/*/segments/*/vector_storage-image/matrix.dat")
    assert not cached(vectors)
    store = EdgeStore(tmp_path, IDENTITY)
    wait_until(lambda: cached(vectors))
    store.close()


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_closing_gives_up_a_graph_that_is_being_built(open_edge, study, path, monkeypatch):
    """The process that builds it never ends by itself here."""
    endless = path.parent / "endless.py"
    endless.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(vacuum, "__file__", str(endless))
    monkeypatch.setattr(upkeep, "_BUILT_S", 0.01)
    monkeypatch.setattr(edge, "DUE_LIVING", 1)
    store = open_edge(erases=True)
    store.put([study("s")])
    wait_until(lambda: list(path.glob("collection/*/2")))
    store.close()
    store = open_edge()
    assert store.get("s") == study("s").study
    store.close()


def test_the_logs_of_changed_shards_are_synced_before_a_write_returns(
    open_edge, study, monkeypatch
):
    synced = []
    monkeypatch.setattr(shard.Shard, "sync_log", lambda self: synced.append(self.path.name))
    store = open_edge()
    store.put([study("s", report=False, sections=())])
    store.put([study("t")])
    assert {*synced[2:-1]} == {"image", "report", "passage"}
    assert synced[-1] == "study"
    store.delete("s")
    assert {*synced[6:]} == {"image", "report", "passage", "study"}
    store.close()


def test_what_was_written_is_flushed_soon_after(open_edge, study, monkeypatch):
    flushed = []
    monkeypatch.setattr(upkeep, "_FLUSHED_S", 0.01)
    store = open_edge(erases=True)
    monkeypatch.setattr(shard.Shard, "flush", lambda self: flushed.append(self.path.name))
    store.put([study("s")])
    wait_until(lambda: {*flushed} == {"image", "report", "passage", "study"})
    store.close()


def test_files_are_synced_once_nobody_writes(open_edge, study, monkeypatch):
    synced = []
    monkeypatch.setattr(shard.Shard, "save", lambda self: synced.append(self.path.name))
    store = open_edge(erases=True)
    store.put([study("s")])
    wait_until(lambda: len(synced) == 4)
    assert {*synced} == {"image", "report", "passage", "study"}
    store.close()


def test_a_full_disk_has_room_to_flush(study, tmp_path):
    with small_disk(tmp_path / "disk", 800) as disk:
        store = EdgeStore(disk / "cases", IDENTITY, 64 * 2**20, erases=False)
        store.put([study(f"s{n}") for n in range(100)])
        fill(disk)
        for _ in range(4):
            store._flush()
        assert store._shards.unflushed_s == 0
        store.close()


def test_a_flush_that_fails_is_not_tried_at_once_again(monkeypatch):
    monkeypatch.setattr(upkeep, "_LOOK_AT_FILES_S", 0.001)
    failed, shards = threading.Semaphore(0), SimpleNamespace(unsaved=False, unflushed_s=200.0)

    def flush():
        failed.release()
        raise StoreFull("full")

    threads = Upkeep(shards, lambda: None, flush, lambda _: None, lambda: None, 1, 1)
    threads.start(reads_ahead=False)
    assert failed.acquire(timeout=60)
    assert not failed.acquire(timeout=0.1)
    threads.close()


def test_a_graph_that_cannot_be_built_delays_no_other(monkeypatch):
    monkeypatch.setattr(upkeep, "_BUILT_S", 0.01)
    built = threading.Event()

    class Due:
        unindexed = 9

        def stop_rewriting(self):
            """It has ended."""

    class Two(list):
        unsaved, unflushed_s, quiet_s = False, 0.0, 60.0

    damaged, sound = Due(), Due()

    def rewrite(shard):
        if shard is damaged:
            raise StoreUnavailable("damaged")
        built.set()

    threads = Upkeep(Two([damaged, sound]), lambda: None, lambda: None, rewrite, lambda: None, 1, 1)
    threads.start(reads_ahead=False)
    assert built.wait(60)
    threads.close()


def test_an_interruption_stops_the_rewritings_that_run(monkeypatch):
    ended, waited = threading.Event(), upkeep.wait

    class Due:
        unindexed = upkeep.SCANNED

        def stop_rewriting(self):
            ended.set()

    def interrupted(rewritings, *seconds):
        if not seconds:
            raise KeyboardInterrupt
        return waited(rewritings, *seconds)

    monkeypatch.setattr(upkeep, "wait", interrupted)
    begun = threading.Event()

    def rewrite(_):
        begun.set()
        assert ended.wait(60)

    builder = Upkeep([Due(), Due()], None, None, rewrite, None, 1, 2)
    with pytest.raises(KeyboardInterrupt):
        builder.build_graphs()
    assert ended.is_set()
    assert begun.is_set()
    assert not builder.rewriting.locked()


def test_a_rewriting_without_room_beside_another_one_waits_for_it(tmp_path, monkeypatch):
    room, shard = Room(tmp_path, 0), tmp_path / "shard"
    monkeypatch.setattr(room._reserve, "has", lambda _: False)
    entered = threading.Event()

    def second():
        with room.to_rewrite(shard):
            entered.set()

    waiting = threading.Thread(target=second)
    with room.to_rewrite(shard):
        waiting.start()
        assert not entered.wait(0.1)
    assert entered.wait(60)
    waiting.join()


def test_after_a_power_cut_new_studies_are_made_again_from_the_log(path, open_edge, study):
    """After a write the log alone is synced: all other files may be as they were at a flush."""
    store, before = open_edge(), path.with_name("before")
    store.put([study("r")])
    for each in store._shards:
        each.flush()
    shutil.copytree(path, before)
    store.put([study("s"), study("t")])
    for log in path.rglob("wal"):
        shutil.copytree(log, before / log.relative_to(path), dirs_exist_ok=True)
    store.close()
    shutil.rmtree(path)
    before.rename(path)
    store = open_edge()
    assert [store.get(study_id) for study_id in "rst"] == [study(each).study for each in "rst"]
    assert store.count() == 3
    store.close()


def test_a_log_that_is_rolled_meanwhile_costs_no_study(open_edge, study, monkeypatch):
    store, synced = open_edge(), shard.sync
    store.put([study("r")])

    def renamed(each):
        monkeypatch.setattr(shard, "sync", synced)
        raise FileNotFoundError(each)

    monkeypatch.setattr(shard, "sync", renamed)
    store.put([study("s")])
    assert shard.sync is synced
    assert store.get("s") == study("s").study
    store.close()


def test_no_other_study_is_lost_if_a_write_fails_and_the_next_one_undoes_it(
    edge, study, vector, monkeypatch
):
    edge.put([study("old"), study("replaced")])
    with monkeypatch.context() as patch:
        patch.setattr(shard.Shard, "sync_log", lambda _: 1 / 0)
        with pytest.raises(StoreUnavailable):
            edge.put([study("new"), study("replaced", version=2)])
    assert "new" in parts_by_study(edge, vector)
    edge.put([study("other")])
    assert parts_by_study(edge, vector).keys() == {"old", "replaced", "other"}
    assert edge.digests(["old", "replaced", "new", "other"]).keys() == {"old", "other"}
    assert edge.get("new") is None
    edge.put([study("new"), study("replaced", version=2)])
    assert edge.get("replaced") == study("replaced", version=2).study
    assert len(edge.digests(["old", "replaced", "new", "other"])) == 4


@pytest.mark.usefixtures("earlier")
def test_a_library_of_an_earlier_release_is_served_as_it_is(open_edge, study, path):
    store = open_edge()
    studies = [study(f"s{n}", views=("PA", "LL")) for n in range(5)]
    store.put(studies)
    store.put([study("s3", version=2)])
    assert store.delete("s4")
    store.erase()
    store.close()
    store = open_edge()
    kept = {**{each.study.study_id: each.study for each in studies[:3]}}
    kept["s3"] = study("s3", version=2).study
    assert {each.study.study_id: each.study for each in store.studies()} == kept
    assert len(list(store.points())) == 3 * 6 + 5
    for part in ("image", "report", "passage"):
        for search in (
            Search(part, study("s3", version=2).image_vectors[0]),
            Search(part, words="s3"),
        ):
            hits = store.search(search, k=100, group_by_study=True, **ANYTHING)
            found = 4 if search.words is None else 1 - (part == "image")
            assert len(hits) == found
    assert {each.name for each in (path / "collection").iterdir()} == {
        "shard",
        "identity.json",
        "journal",
        "erasure.json",
    }
    store.close()


def test_scores_are_the_cosines_but_for_rounded_numbers(edge, study):
    """Stored numbers and those of the query are rounded to float16, by 2 ** -11 of each at most."""
    edge.put([study(f"s{n}") for n in range(60)])
    vectors = {f"s{n}": study(f"s{n}").image_vectors[0] for n in range(60)}
    for query in list(vectors.values())[:10]:
        for hit in edge.search(Search("image", query), k=60, **ANYTHING):
            assert abs(hit.score - float(query @ vectors[hit.study_id])) < 2**-10
    for embedded in edge.studies():
        stored, given = embedded.image_vectors[0], vectors[embedded.study.study_id]
        np.testing.assert_array_equal(stored, given.astype(np.float16))


def test_a_copy_of_rounded_vectors_has_the_same(edge, study, path):
    edge.put([study(f"s{n}") for n in range(60)])
    other = EdgeStore(path.with_name("copy"), IDENTITY)
    other.put(list(edge.studies()))
    for ours, theirs in zip(edge.points(), other.points(), strict=True):
        assert ours.id == theirs.id
        np.testing.assert_array_equal(ours.vector, theirs.vector)
    other.close()
