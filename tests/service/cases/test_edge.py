"""The embedded library: restarts, crashes, and whom it refuses."""

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from service.cases import edge, shard
from service.cases.schema import CaseFilter, Exclusion, Search
from service.errors import BundleMismatch, StoreUnavailable

ANYTHING = {"where": CaseFilter(), "exclude": Exclusion()}
REPOSITORY = Path(__file__).parents[3]
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
                assert set(parts[study_id]) <= set(parts_of(whole))
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
    for file in (path / "collection" / "shard").rglob("*.json"):
        file.write_text("damaged")
    with pytest.raises(StoreUnavailable, match="engine failed"):
        open_edge()


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
def test_a_large_library_is_optimized_and_still_answers(edge, study, vector, monkeypatch):
    monkeypatch.setattr("service.cases.edge._OPTIMIZE_EVERY", 250)
    for first in range(0, 100, 20):
        edge.put([study(f"s{n}") for n in range(first, first + 20)])
    assert edge.count() == 100
    hits = edge.search(Search("passage", vector("s42/1/passage/1")), k=1, **ANYTHING)
    assert hits[0].study_id == "s42"


def test_all_files_are_flushed_before_a_write_returns_but_in_bulk_work(
    open_edge, study, monkeypatch
):
    synced = []
    monkeypatch.setattr(edge, "_FLUSH_EVERY_S", 3600)
    monkeypatch.setattr(shard.Shard, "sync_log", lambda self: synced.append(self))
    for bulk, alone in ((False, 0), (True, 2)):
        store = open_edge(bulk=bulk)
        for name in "rst":
            store.put([study(f"{name}-{bulk}")])
        store.delete(f"r-{bulk}")
        store.close()
        assert len(synced) == alone


def test_after_a_power_cut_new_studies_are_made_again_from_the_log(
    path, open_edge, study, monkeypatch
):
    """Soon after a flush the log alone is synced: all other files may be as they were then."""
    monkeypatch.setattr(edge, "_FLUSH_EVERY_S", 3600)
    store, log = open_edge(bulk=True), path / "collection" / "shard" / "1" / "wal"
    store.put([study("r")])
    before = path.with_name("before")
    shutil.copytree(path, before)
    store.put([study("s"), study("t")])
    shutil.copytree(log, before / log.relative_to(path), dirs_exist_ok=True)
    store.close()
    shutil.rmtree(path)
    before.rename(path)
    store = open_edge()
    assert [store.get(study_id) for study_id in "rst"] == [study(each).study for each in "rst"]
    assert store.count() == 3
    store.close()


def test_a_log_that_is_rolled_meanwhile_costs_no_study(open_edge, study, monkeypatch):
    monkeypatch.setattr(edge, "_FLUSH_EVERY_S", 3600)
    store, synced = open_edge(bulk=True), shard.sync
    store.put([study("r")])

    def renamed(each):
        monkeypatch.setattr(shard, "sync", synced)
        raise FileNotFoundError(each)

    monkeypatch.setattr(shard, "sync", renamed)
    store.put([study("s")])
    assert shard.sync is synced
    assert store.get("s") == study("s").study
    store.close()
