"""What is deleted or replaced is in no file of the library any more, also after a kill -9."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.cases import erasure, layout, room, shard, vacuum
from service.cases.edge import EdgeStore
from service.cases.schema import NOBODY, CaseFilter, Identity, Search
from service.errors import StoreUnavailable
from service.telemetry import REGISTRY
from tests.support.disks import fill, small_disk

REPOSITORY = Path(__file__).parents[3]
SECRET = "Zwölffingerdarmgeschwür-Öztürk"
IDENTITY = Identity("b" * 64, "k" * 16, dimension=16)
RESERVE = 64 * 2**20
OTHERS = [f"other-{number}" for number in range(20)]


@pytest.fixture
def secret(study):
    """A study whose words, facts and names no other study has."""
    whole = study("secret", patient_id="pat_secret", findings=("finding-qxv",), source="ward-kzj")
    facts = whole.study
    passage = replace(facts.passages[0], text=f"{SECRET} in the left lung.")
    image = replace(facts.images[0], view="view-wfp")
    return replace(
        whole,
        study=replace(
            facts,
            report=f"FINDINGS: {SECRET} in the left lung. {SECRET[::-1]}.",
            passages=(passage, *facts.passages[1:]),
            images=(image,),
            metadata={"nurse": "metadata-bhw"},
        ),
    )


def traces(secret):
    """Returns byte strings that only this study's content has; numbers are stored as float16."""
    words = [SECRET, "metadata-bhw", "finding-qxv", "ward-kzj", "view-wfp"]
    vectors = [*secret.image_vectors, secret.report_vector, *secret.passage_vectors]
    return [word.encode() for word in words] + [
        vector.astype(np.float16).tobytes() for vector in vectors
    ]


def found(path, sought):
    files = [file.read_bytes() for file in path.rglob("*") if file.is_file()]
    return [each for each in sought if any(each in content for content in files)]


def filled(store, study, secret):
    store.put([study(name, patient_id=f"pat of {name}") for name in OTHERS])
    store.put([secret])
    return store


def assert_others_whole(store, study):
    wanted = {name: study(name, patient_id=f"pat of {name}") for name in OTHERS}
    stored = store.get_many(OTHERS)
    assert {name: whole.study for name, whole in stored.items()} == {
        name: whole.study for name, whole in wanted.items()
    }
    assert store.count(CaseFilter()) == len(OTHERS)


@pytest.mark.slow
@pytest.mark.parametrize("removal", ["patient", "replaced", "everything"])
def test_nothing_of_what_was_removed_is_in_any_file(edge, study, secret, path, removal):
    filled(edge, study, secret)
    sought = traces(secret)
    assert found(path, sought) == sought
    match removal:
        case "patient":
            edge.delete_patient("pat_secret")
        case "replaced":
            edge.put([study("secret", version=2, patient_id="pat_secret")])
        case "everything":
            for whole in list(edge.studies()):
                edge.delete(whole.study.study_id)
    assert found(path, sought)
    edge.erase()
    assert found(path, sought) == []
    left = {"replaced": len(OTHERS) + 1, "everything": 0}.get(removal, len(OTHERS))
    assert edge.count() == left
    edge.put([study("new")])
    assert edge.count() == left + 1


@pytest.mark.slow
@pytest.mark.usefixtures("earlier")
def test_nothing_of_what_was_removed_is_in_a_library_of_an_earlier_release(
    open_edge, study, secret, path
):
    store = filled(open_edge(), study, secret)
    vectors = [vector.tobytes() for vector in secret.image_vectors]
    assert found(path, vectors) == vectors
    store.delete("secret")
    store.erase()
    assert found(path, [*traces(secret), *vectors]) == []
    assert_others_whole(store, study)
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("removal", ["deleted", "replaced"])
def test_nothing_stays_in_segments_with_a_graph(
    open_edge, study, secret, path, monkeypatch, removal
):
    """Small segments have none, unless the engine is told to make one; records are closed then."""
    monkeypatch.setattr(layout, "SCANNED", 1)
    store = filled(open_edge(), study, secret)
    store.put([study(f"further {number}", sections=(), report=False) for number in range(130)])
    store._upkeep.rewrite()
    graphs = "2/segments/*/vector_index-passage/graph*"
    assert list((path / "collection" / "passage").glob(graphs))
    assert list((path / "collection" / "study").glob("2/segments/*/id_tracker.mappings"))
    if removal == "deleted":
        store.delete("secret")
    else:
        store.put([study("secret", version=2)])
    store.erase()
    store.close()
    assert found(path, traces(secret)) == []


@pytest.mark.slow
def test_an_erasure_that_was_not_done_is_done_after_a_restart(open_edge, study, secret, path):
    store = filled(open_edge(), study, secret)
    store.delete("secret")
    store.close()
    assert found(path, traces(secret))
    store = open_edge(erases=True)
    store.close()
    assert found(path, traces(secret)) == []
    store = open_edge()
    assert_others_whole(store, study)
    assert store._erasure.age_s == 0
    store.close()


@pytest.mark.slow
def test_a_library_of_an_earlier_release_is_erased_when_it_is_opened(
    open_edge, study, secret, path
):
    store = filled(open_edge(), study, secret)
    store.delete("secret")
    store.close()
    (path / "collection" / "erasure.json").unlink()
    open_edge(erases=True).close()
    assert found(path, traces(secret)) == []


STEPS = ["_copy", "sync_files", "_Generation", "_exchange", "_switch", "_retire"]

# Deletes a study and erases, and is killed before the given step.
ERASE = """
import importlib.util, os, signal, sys
from pathlib import Path
conftest, library, step = sys.argv[1:]
spec = importlib.util.spec_from_file_location("conftest", conftest)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from service.cases import shard
store = module.EdgeStore(Path(library), module.IDENTITY, erases=False)

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

store.delete("secret")
print("deleted", flush=True)
setattr(shard.Shard if hasattr(shard.Shard, step) else shard, step, die)  # or nothing
store.erase()
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_kill_9_in_an_erasure_loses_nothing_and_does_not_forget_it(
    open_edge, study, secret, path, step
):
    filled(open_edge(), study, secret).close()
    arguments = [str(Path(__file__).with_name("conftest.py")), str(path), step]
    killed = subprocess.run([sys.executable, "-c", ERASE, *arguments], cwd=REPOSITORY, check=False)
    assert killed.returncode == -signal.SIGKILL
    store = open_edge(erases=True)
    assert_others_whole(store, study)
    store.put([study("new")])
    store.close()
    assert found(path, traces(secret)) == []
    assert sorted(p.name for p in (path / "collection").iterdir()) == [
        "erasure.json",
        "identity.json",
        "image",
        "journal",
        "passage",
        "report",
        "study",
    ]
    store = open_edge()
    assert store.count() == len(OTHERS) + 1
    store.close()


@pytest.mark.slow
def test_kill_9_at_any_moment_of_an_erasure_loses_nothing(open_edge, study, secret, path):
    rng = random.Random(0)
    for number in range(3):
        filled(open_edge(), study, secret).close()
        arguments = [str(Path(__file__).with_name("conftest.py")), str(path), "none"]
        command = [sys.executable, "-c", ERASE, *arguments]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"deleted\n"
        time.sleep(rng.uniform(0, 0.4 * (number + 1)))
        process.kill()
        process.communicate()
        store = open_edge(erases=True)
        assert_others_whole(store, study)
        store.close()
        assert found(path, traces(secret)) == []


@pytest.mark.slow
def test_searches_and_writes_go_on_during_erasures(open_edge, study, secret, vector, monkeypatch):
    monkeypatch.setattr(erasure, "_GATHERED_S", 0.0)
    monkeypatch.setattr(erasure, "_REST", 0.0)
    store = filled(open_edge(erases=True), study, secret)
    ended, wrong = threading.Event(), []

    def search():
        while not ended.is_set():
            query = Search("report", vector("other-3/1/report"))
            hits = store.search(query, k=1, where=CaseFilter(), exclude=NOBODY)
            if [hit.study_id for hit in hits] != ["other-3"]:
                wrong.append(hits)

    thread = threading.Thread(target=search)
    thread.start()
    for number in range(12):
        store.put([study(f"short-lived-{number}")])
        store.delete(f"short-lived-{number}")
    store.delete("secret")
    ended.set()
    thread.join()
    store.close()
    assert wrong == []
    store = open_edge()
    assert_others_whole(store, study)
    store.close()


def test_a_rewriting_that_fails_changes_nothing_and_stays_due(
    edge, study, secret, path, monkeypatch
):
    filled(edge, study, secret).delete("secret")
    monkeypatch.setattr(vacuum, "__file__", "/no/such/program.py")
    with pytest.raises(StoreUnavailable):
        edge.erase()
    assert_others_whole(edge, study)
    assert json.loads((path / "collection" / "erasure.json").read_text())["due_since"]
    assert not list(path.glob("collection/*/2"))


@pytest.mark.slow
def test_segments_that_lack_points_are_not_used(edge, study, secret, monkeypatch):
    filled(edge, study, secret).delete("secret")
    monkeypatch.setattr(shard._Generation, "holds_as_many_points_as", lambda *_: False)
    with pytest.raises(StoreUnavailable):
        edge.erase()
    assert_others_whole(edge, study)
    edge.put([study("new")])
    assert edge.count() == len(OTHERS) + 1


@pytest.mark.parametrize("undone", ["by the next write", "by the next opening"])
def test_what_a_write_that_is_undone_left_is_due(open_edge, study, path, monkeypatch, undone):
    store = open_edge()
    with monkeypatch.context() as patch:
        patch.setattr(shard.Shard, "sync_log", lambda _: 1 / 0)
        with pytest.raises(StoreUnavailable):
            store.put([study("s")])
    file = path / "collection" / "erasure.json"
    assert not json.loads(file.read_text())["due_since"]
    if undone == "by the next write":
        store.put([study("t")])
    else:
        store.close()
        store = open_edge()
    assert store.get("s") is None
    store.close()
    assert json.loads(file.read_text())["due_since"]


def test_a_library_is_closed_while_another_thread_erases(open_edge, study, monkeypatch):
    """The one waits for the lock of writers when the other closes the shards under it."""
    store, turn = open_edge(), EdgeStore._turn
    waiting, closing = threading.Event(), threading.Event()

    def turn_later(self):
        waiting.set()
        closing.wait(60)
        time.sleep(0.1)
        return turn(self)

    def erase():
        with suppress(StoreUnavailable):  # closed under it
            store.erase()

    monkeypatch.setattr(EdgeStore, "_turn", turn_later)
    store.put([study("s"), study("t")])
    store.delete("s")
    erasing = threading.Thread(target=erase, daemon=True)
    erasing.start()
    assert waiting.wait(60)
    ending = threading.Thread(target=store.close, daemon=True)
    ending.start()
    closing.set()
    ending.join(60)
    assert not ending.is_alive()
    erasing.join(60)
    assert not erasing.is_alive()
    store = open_edge()
    assert store.digests(["s", "t"]).keys() == {"t"}
    store.close()


def test_a_full_disk_stops_an_erasure_before_it_begins(edge, study, monkeypatch):
    edge.put([study("s")])
    monkeypatch.setattr(room, "_LOG", 2**62)
    with pytest.raises(StoreUnavailable):
        edge.erase()
    assert edge.count() == 1


@pytest.mark.slow
def test_a_disk_that_fills_during_a_rewriting_ends_no_server(tmp_path, study, monkeypatch):
    with small_disk(tmp_path / "disk", 800) as disk:
        store = EdgeStore(disk / "cases", IDENTITY, RESERVE, erases=False)
        store.put([study(name) for name in OTHERS])
        store.delete(OTHERS[0])
        vacuum = store._shards["report"]._vacuum
        rewrite = vacuum.run

        def fill_and_rewrite(*arguments):
            fill(disk)
            rewrite(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(vacuum, "run", fill_and_rewrite)
            with pytest.raises(StoreUnavailable):
                store.erase()
        assert store.count() == len(OTHERS) - 1
        assert store._erasure.age_s > 0
        store.delete(OTHERS[1])
        (disk / "filler").unlink()
        store.erase()
        assert store._erasure.age_s == 0
        store.close()


@pytest.mark.slow
def test_a_disk_that_is_full_keeps_no_note_of_an_opened_library_back(tmp_path):
    """Without it what a killed process leaves in the log would not be erased."""
    with small_disk(tmp_path / "disk", 600) as disk:
        EdgeStore(disk / "cases", IDENTITY, RESERVE).close()
        fill(disk)
        store = EdgeStore(disk / "cases", IDENTITY, RESERVE)
        state = json.loads((disk / "cases" / "collection" / "erasure.json").read_text())
        assert state["opened"]
        store.close()


def test_what_is_deleted_during_an_erasure_stays_due(tmp_path):
    state = tmp_path / "erasure.json"
    erasure.write_nothing_due(state)
    due = erasure.Erasure(state, lambda: None)
    assert due.age_s == 0
    due.due()
    due.begin()
    due.due()
    due.done()
    assert json.loads(state.read_text())["due_since"]
    due.begin()
    due.done()
    assert json.loads(state.read_text()) == {"due_since": None, "opened": False}


def test_a_process_that_did_not_close_the_library_makes_an_erasure_due(tmp_path):
    """Its last write may have left words in the log that are no point."""
    state = tmp_path / "erasure.json"
    erasure.write_nothing_due(state)
    first = erasure.Erasure(state, lambda: None)
    first.start()
    assert json.loads(state.read_text()) == {"due_since": None, "opened": True}
    assert erasure.Erasure(state, lambda: None)._since
    first.close()
    assert erasure.Erasure(state, lambda: None)._since is None


def test_an_erasure_that_fails_is_logged_counted_and_tried_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(erasure, "_RETRY_S", 0.01)
    monkeypatch.setattr(erasure, "ERASED_WITHIN_S", -1)
    tried, twice = [], threading.Event()

    def fails():
        tried.append(1)
        if len(tried) == 2:
            twice.set()
        raise RuntimeError("Mrs. Doe")

    state = tmp_path / "erasure.json"
    erasure.write_nothing_due(state)
    due = erasure.Erasure(state, fails)
    due.start()
    due.due()
    assert twice.wait(20)
    assert REGISTRY.get_sample_value("eclip_erasure_due_seconds") > 0
    due.close()
    captured = capsys.readouterr()
    logged = captured.out + captured.err
    assert "erasure failed" in logged
    assert "erasure overdue" in logged
    assert "Doe" not in logged


def test_the_process_that_rewrites_ends_with_its_parent(tmp_path):
    """Of another parent's id it takes its parent to be gone."""
    command = [sys.executable, "-P", vacuum.__file__, str(tmp_path / "none"), "0", "1"]
    assert os.getpid() != 1
    assert subprocess.run(command, check=False).returncode == 0
