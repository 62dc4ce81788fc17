"""A write that is cut short at any step leaves every study whole or absent, in all shards."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.cases.journal import NOTHING, Entry, Journal, entry_of
from service.cases.operations import BlankDigest, Remove, Selection, records_of, replacement
from service.cases.points import to_points
from tests.support.disks import fill, small_disk

REPOSITORY = Path(__file__).parents[3]

# Forks a process for each step. It opens the library, looks at every study, then writes, and is
# killed before that step of the write. The parent never opens the engine, so it can fork.
STEPS = """
import json, os, signal, sys
from itertools import count
from pathlib import Path
import numpy as np
from service.cases.journal import Journal
from service.cases.points import to_points
from service.cases.shard import Shard
from tests.service.cases import conftest

path, kind = Path(sys.argv[1]), sys.argv[2]
STRIDE = 1 if kind == "new" else 4
NAMES = [f"s{n}" for n in range(60)]


def study(name, version=1):
    sections, patient = ("findings",) * (4 - version), f"patient of {name}"
    return conftest.embedded_study(name, version=version, patient_id=patient, sections=sections)

def opened():
    return conftest.EdgeStore(path, conftest.IDENTITY, erases=False)

def fill():
    store = opened()
    store.put([study(name) for name in NAMES])
    if kind == "rewritten":
        store.erase()
    store.close()

def require_whole(store, replaced):
    records, parts = {}, {}
    for point in store.points():
        name = point.payload["study_id"]
        parts.setdefault(name, {})[point.id] = point
        if point.part == "study":
            records[name] = point.payload["digest"]
    assert parts.keys() == records.keys(), parts.keys() ^ records.keys()
    for name, digest in records.items():
        if not digest:
            assert name in replaced, name
            continue
        expected = {point.id: point for point in to_points(study(name, int(digest[-1])))}
        assert parts[name].keys() == expected.keys(), name
        for id, point in expected.items():
            found = parts[name][id]
            assert json.dumps(found.payload) == json.dumps(point.payload), name
            if point.vector is not None:
                np.testing.assert_allclose(found.vector, point.vector, atol=1e-3)

def kill_before(step):
    calls = count(1)
    def counted(function):
        def call(*arguments):
            if next(calls) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)
        return call
    Shard.update, Shard.sync_log = counted(Shard.update), counted(Shard.sync_log)
    Journal.write = counted(Journal.write)

def forked(work):
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

WRITES = {
    "new": lambda store, name: store.put([study("new " + name), study("other " + name)]),
    "replaced": lambda store, name: store.put([study(name, 2), study("beside " + name)]),
    "deleted": lambda store, name: store.delete(name),
    "patient": lambda store, name: store.delete_patient(f"patient of {name}"),
}
assert forked(fill) == 0
replaced, names = set(), iter(NAMES)
for write in WRITES:
    for step in count(1, STRIDE):
        name = next(names)
        if write == "replaced":
            replaced.add(name)

        def look_and_write():
            store = opened()
            require_whole(store, replaced)
            kill_before(step)
            WRITES[write](store, name)

        status = forked(look_and_write)
        if status == 0:
            print(write, step, flush=True)
            break
        assert status == -signal.SIGKILL, (write, step, status)
def look():
    store = opened()
    require_whole(store, replaced)
    store.close()
assert forked(look) == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["new", "rewritten", "earlier"])
def test_a_process_that_is_killed_at_any_step_of_a_write_leaves_studies_whole_or_absent(
    path, request, kind
):
    if kind == "earlier":
        request.getfixturevalue("earlier")
    command = [sys.executable, "-c", STEPS, str(path), kind]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    completed = dict(line.split() for line in ended.stdout.splitlines())
    assert list(completed) == ["new", "replaced", "deleted", "patient"]
    assert min(map(int, completed.values())) > 3


def test_an_entry_says_what_a_write_does(study):
    points = [point for name in "st" for point in to_points(study(name))]
    put = Entry({"s": "digest of s/1", "t": "digest of t/1"})
    assert entry_of(replacement(["s", "t"], points)) == put
    deletion = Remove(Selection(must={"patient_id": ["p"]}))
    assert entry_of([deletion]) == Entry(removed=deletion.selection)


def test_a_study_is_undone_unless_its_record_has_the_digest_of_the_entry():
    entry = Entry({"whole": "a", "replaced": "b", "blank": "c", "new": "d"})
    assert entry.remedy({"whole": "a", "replaced": "old", "blank": ""}) == [
        BlankDigest(records_of(["replaced", "blank"])),
        Remove(Selection(must={"study_id": ["new"]})),
    ]
    removed = Selection(must={"study_id": ["s"]})
    assert Entry(removed=removed).remedy({}) == [Remove(removed)]
    assert NOTHING.remedy({}) == []


def test_what_a_removal_spares_is_spared_when_the_library_is_opened_again(open_edge, study):
    store = open_edge()
    store.put([study("s"), study("t"), study("u")])
    store.remove(Selection({"patient_id": ["patient"]}, {"study_id": ["t", "u"]}))
    store.close()
    store = open_edge()
    assert store.get_many("stu").keys() == {"t", "u"}
    store.close()


def test_a_journal_keeps_its_last_entry_alone(tmp_path):
    journal, file = Journal(tmp_path / "journal"), tmp_path / "journal"
    assert journal.read() == NOTHING
    for entry in (
        Entry({"study": "digest" * 9}),
        Entry(removed=Selection(ids=["i"], spared=[])),
        NOTHING,
    ):
        journal.write(entry)
        assert Journal(file).read() == entry


def test_an_entry_for_which_the_disk_has_no_room_is_refused(tmp_path):
    """Such a disk takes the first bytes of what it is given, and reports no error."""
    with small_disk(tmp_path / "disk", 4) as disk:
        journal = Journal(disk / "journal")
        journal.write(Entry({"study": "digest"}))
        fill(disk)
        with pytest.raises(OSError, match="No space"):
            journal.write(Entry({"study": "digest" * 2000}))
        assert journal.read() == NOTHING


def test_a_half_written_entry_counts_as_nothing(tmp_path):
    """Its write had not begun, and the one before had ended."""
    file = tmp_path / "journal"
    Journal(file).write(Entry({"study": "digest" * 9}))
    whole = file.read_bytes()
    Journal(file).write(Entry({"other": "digest" * 12}))
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert Journal(file).read() == NOTHING
    file.write_bytes(whole[:20] + b"\0" * 20 + whole[40:])
    assert Journal(file).read() == NOTHING


def test_what_was_removed_by_its_id_is_removed_alone_when_it_is_redone(open_edge, study):
    """An entry without the ids would select everything."""
    store = open_edge()
    store.put([study("s"), study("t")])
    first, *_ = next(store.ids(Selection({"study_id": ["s"], "part": ["image"]})))
    store.remove(Selection(ids=[first]))
    points = sum(map(len, store.ids()))
    store.close()
    store = open_edge()
    assert sum(map(len, store.ids())) == points
    assert store.get("t") == study("t").study
    store.close()


def test_a_removal_of_everything_is_refused(open_edge, study):
    store = open_edge()
    store.put([study("s")])
    for everything in (Selection(), Selection(ids=[])):
        with pytest.raises(ValueError, match="Select the points"):
            store.remove(everything)
    assert store.get("s") == study("s").study
    store.close()
