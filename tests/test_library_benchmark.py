"""The library benchmark's own parts: its studies, its exact answers, its phases and its results."""

import numpy as np
import pytest

from tests.benchmarks.library import data as studies
from tests.benchmarks.library import truth
from tests.benchmarks.library.contestants import EXACT, OURS, contestant
from tests.benchmarks.library.data import FILTERS, WARMING, Data
from tests.benchmarks.library.phase import build, load, paced, search
from tests.benchmarks.library.results import Results, table

pytestmark = pytest.mark.slow

SIZE, SEARCHES = 400, 30


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Data:
    made = Data(tmp_path_factory.mktemp("library"), SIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "QUERIES", SEARCHES)
        made.make()
        truth.find(made)
    return made


def test_vectors_follow_from_the_size_and_one_in_fifty_is_repeated(data, tmp_path):
    again = Data(tmp_path, SIZE)
    again.make()
    images = data.vectors("image", 0, data.total)
    assert np.array_equal(images, again.vectors("image", 0, data.total))
    assert np.allclose(np.linalg.norm(images, axis=1), 1, atol=1e-6)
    nearest = np.sort(images @ images.T, axis=1)[:, -2]
    assert np.count_nonzero(nearest > 1 - 1e-5) == pytest.approx(2 * 0.02 * data.total, abs=2)


def test_recall_counts_what_passes_the_filter_and_is_among_the_ten_best(data):
    scores = data.asked[WARMING:] @ data.vectors("image", 0, SIZE).T
    for name in FILTERS:
        admitted = data.admits(name)[:SIZE]
        ranked = np.argsort(-np.where(admitted, scores, -1), axis=1)
        there = min(10, np.count_nonzero(admitted))
        assert truth.recall(data, ranked[:, :there].tolist(), name) == pytest.approx(there / 10)
    best = np.argsort(-scores, axis=1)
    assert truth.recall(data, best[:, :5].tolist(), "all") == 0.5
    assert truth.recall(data, np.repeat(best[:, :1], 10, axis=1).tolist(), "all") == 0.1
    assert truth.recall(data, best[:, -10:].tolist(), "all") == 0


def test_recall_during_a_load_asks_for_what_was_stored_when_a_search_began(data):
    scores = data.asked[WARMING:][:1] @ data.vectors("image", 0, data.total).T
    loaded = [0, 100, data.loaded]
    found = [np.argsort(-scores[0, : SIZE + count])[:10].tolist() for count in loaded]
    assert truth.recall_while_loading(data, found, [0, 0, 0], loaded) == 1
    assert truth.recall_while_loading(data, found[:1], [0], [data.loaded]) < 1


@pytest.mark.parametrize("name", [OURS, EXACT])
def test_a_contestant_goes_through_its_phases(data, tmp_path, name):
    kind, path = contestant(name), tmp_path / "index"
    built = build(kind, data, path)
    assert built["disk_bytes_per_study"] >= 2048
    searched = search(kind, data, path, goal=1)
    assert searched["all"]["recall"] == 1
    row = {"size": SIZE, "contestant": name, "build": built, "search": searched, "load": {}}
    if kind.loads:
        row["paced"] = paced(kind, data, path, searched["effort"])
        row["load"] = load(kind, data, path, searched["effort"])
        assert (row["paced"]["studies"], row["load"]["studies"]) == (SIZE // 4, 3 * SIZE // 4)
        assert row["paced"]["recall"] == row["load"]["recall"] == 1
    assert f"| {SIZE} | {name} |" in table([row])


def test_a_result_of_an_earlier_benchmark_is_shown_without_a_paced_load():
    times = {"p50_ms": 1, "p99_ms": 2, "recall": 1}
    search = {"all": times, "efforts": {}, "effort": 0, "open_s": 0}
    search |= {"rss_mb": 0, "anonymous_mb": 0}
    build = {"studies_per_s": 1, "disk_bytes_per_study": 1}
    row = {"size": 1, "contestant": OURS, "build": build, "search": search, "load": times}
    shown = table([row]).splitlines()
    cells = dict(zip(*(line.split(" | ") for line in (shown[0], shown[2])), strict=True))
    assert (cells["during a paced load"], cells["during a load"]) == ("", "1.00 / 2.00")


def test_results_are_kept_in_order_and_measured_again_in_place(tmp_path):
    results = Results(tmp_path / "library.json")
    results.add(300, EXACT, {"build": 1})
    results.add(200, OURS, {"build": 2})
    results.add(300, EXACT, {"build": 3})
    again = Results(tmp_path / "library.json")
    assert [(row["size"], row["build"]) for row in again.rows] == [(200, 2), (300, 3)]
    assert again.of(300, OURS) is None
