"""Each library is measured, and searched as broadly as it needs to find what is nearest."""

import json
import threading
import uuid
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from service.cases import calibration, layout, upkeep
from service.cases.breadth import LADDER, SUREST, Breadth
from service.cases.calibration import Calibration, Pace, calibrate, calibrating, measured
from service.cases.points import PARTS, Point, ScoredPoint
from service.cases.schema import EVERYTHING, NOBODY, CaseFilter, Exclusion, Search
from service.telemetry import REGISTRY
from tests.service.cases.conftest import DIMENSION, IDENTITY

PARTS_STORED = 300


class Asked(NamedTuple):
    own: int
    """1 if the query is of the kind that is searched: then it misses none before the nearest."""
    breadth: Breadth


class Scanned:
    """A store that scans, and misses as many of the nearest parts as `missing` says."""

    identity = IDENTITY

    def __init__(self, missing, kinds=("image",), graphed=1.0):
        rng = np.random.default_rng(0)
        self.missing, self.graphed, self.breadths, self.asked = missing, graphed, {}, 0
        self.vectors = rng.standard_normal((len(kinds), PARTS_STORED, DIMENSION)).astype(np.float32)
        self.vectors /= np.linalg.norm(self.vectors, axis=2, keepdims=True)
        self.parts = {
            kind: [Point(id, kind, vector, {}) for id, vector in zip(ids, vectors, strict=True)]
            for kind, vectors in zip(kinds, self.vectors, strict=True)
            for ids in [sorted(str(uuid.UUID(bytes=rng.bytes(16))) for _ in vectors)]
        }

    def count_parts(self, part):
        return len(self.parts.get(part, []))

    def in_graphs(self, part):
        return int(self.graphed * self.count_parts(part))

    def sample(self, part):
        return next(self.parts_from(part, "", 1), None)

    def parts_from(self, part, start, at_once):
        assert at_once < PARTS_STORED
        return iter([point for point in self.parts.get(part, []) if point.id >= start])

    def nearest(self, part, vector, k, breadth):
        self.asked += 1
        scores = self.vectors[list(self.parts).index(part)] @ vector
        order = np.argsort(-scores)
        others = np.delete(self.vectors, list(self.parts).index(part), axis=0)
        own = int((others @ vector).max(initial=0) < 0.999)
        left = np.delete(order, range(own, own + self.missing(Asked(own, breadth))))[:k]
        return [ScoredPoint(self.parts[part][place].id, scores[place]) for place in left]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(calibration, "_REST", 0)
    monkeypatch.setattr(calibration, "_FIRST_LOOK_S", 0)


@pytest.fixture
def pace():
    return Pace(threading.Event())


def under(ef, missed):
    """Misses so many of the nearest with less than this breadth."""
    return lambda asked: missed if asked.breadth.ef < ef else 0


@pytest.mark.parametrize("needed", LADDER)
def test_the_least_breadth_that_finds_the_nearest_is_chosen(pace, needed):
    found = measured(Scanned(under(needed.ef, 1)), "image", pace)
    assert found == Calibration(needed, 1, PARTS_STORED)


def test_a_library_in_which_no_breadth_suffices_is_searched_by_the_last(pace):
    found = measured(Scanned(under(10_000, 1)), "image", pace)
    assert found.breadth == SUREST
    assert found.recall == pytest.approx(0.9, abs=0.02)


def test_a_search_that_finds_nothing_near_has_no_recall(pace):
    assert measured(Scanned(under(10_000, 50)), "image", pace).recall == 0


@pytest.mark.parametrize("answered", [0, 4])
def test_a_short_answer_has_found_nothing(pace, monkeypatch, answered):
    """A graph of which a part is out of reach gives fewer hits than there are parts."""
    store = Scanned(under(0, 0))
    whole = store.nearest
    monkeypatch.setattr(store, "nearest", lambda *asked: whole(*asked)[:answered])
    assert measured(store, "image", pace).recall == 0


def test_a_target_reached_by_luck_does_not_count(pace, monkeypatch):
    """Of 300 queries that miss nothing, the interval begins at .991; of 200 at .987."""
    assert measured(Scanned(under(0, 0)), "image", pace).breadth == LADDER[0]
    monkeypatch.setattr(calibration, "_QUERIES", 200)
    assert measured(Scanned(under(0, 0)), "image", pace).breadth == SUREST


@pytest.mark.parametrize("compared", [150, 15])
def test_a_sample_stands_for_the_library(pace, monkeypatch, compared):
    """Of 15 in 300 parts each miss in the sample stands for 20."""
    monkeypatch.setattr(calibration, "_COMPARED", compared)
    recalls = [measured(Scanned(under(10_000, 1)), "image", pace).recall for _ in range(5)]
    assert np.mean(recalls) == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize(("most", "recall"), [(PARTS_STORED, 0.8), (PARTS_STORED + 1, 1)])
def test_the_kind_of_query_that_finds_least_decides(pace, monkeypatch, most, recall):
    """Images find images; reports miss two of the nearest images, and count if there are enough."""
    monkeypatch.setattr(calibration, "_QUERIES", most)
    store = Scanned(lambda asked: 0 if asked.own else 2, ("image", "report"))
    assert measured(store, "image", pace).recall == pytest.approx(recall)


def test_what_was_measured_is_used_shown_and_kept(tmp_path, pace):
    store, file = Scanned(under(64, 3)), tmp_path / "studies.calibration"
    calibrate(store, file, pace)
    assert store.breadths == {"image": Breadth(64, 2)}
    for name, value in (("eclip_library_ef", 64), ("eclip_library_recall", 1)):
        assert REGISTRY.get_sample_value(name, {"part": "image"}) == value
    reopened = Scanned(under(64, 3))
    with calibrating(reopened, file):
        assert reopened.breadths == store.breadths
    assert reopened.asked == 0


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"bundle_id": "b", "parts": []}'])
def test_a_file_that_is_damaged_counts_as_none(tmp_path, pace, content):
    store, file = Scanned(under(0, 0)), tmp_path / "studies.calibration"
    file.write_text(content.replace('"b"', f'"{IDENTITY.bundle_id}"'))
    calibrate(store, file, pace)
    assert json.loads(file.read_text())["parts"].keys() == {"image"}


def test_a_measurement_is_used_where_its_file_cannot_be_written(tmp_path, pace):
    store, file = Scanned(under(64, 3)), tmp_path / "no folder" / "studies.calibration"
    file.parent.touch()
    with pytest.raises(FileExistsError):
        calibrate(store, file, pace)
    assert store.breadths == {"image": Breadth(64, 2)}


def test_a_library_of_another_bundle_is_measured_again(tmp_path, pace):
    store, file = Scanned(under(0, 0)), tmp_path / "studies.calibration"
    calibrate(store, file, pace)
    asked, store.identity = store.asked, replace(IDENTITY, bundle_id="c" * 64)
    calibrate(store, file, pace)
    assert store.asked == 2 * asked


def test_a_library_is_measured_again_once_it_has_doubled(tmp_path, pace, monkeypatch):
    store, file = Scanned(under(0, 0)), tmp_path / "studies.calibration"
    calibrate(store, file, pace)
    asked = store.asked
    for count, measurements in ((2 * PARTS_STORED - 1, 1), (2 * PARTS_STORED, 2)):
        monkeypatch.setattr(store, "count_parts", {"image": count, "report": 0, "passage": 0}.get)
        calibrate(store, file, pace)
        assert store.asked == measurements * asked


def test_vectors_that_are_scanned_are_not_measured(tmp_path, pace):
    store = Scanned(under(0, 0), graphed=0.8)
    calibrate(store, tmp_path / "studies.calibration", pace)
    assert not store.breadths
    assert not store.asked


def test_texts_without_vectors_are_not_measured(tmp_path, pace):
    store = Scanned(under(0, 0), ("image", "report"))
    store.parts["report"] = [replace(point, vector=None) for point in store.parts["report"]]
    calibrate(store, tmp_path / "studies.calibration", pace)
    assert store.breadths.keys() == {"image"}


def test_closing_ends_a_measurement(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "_REST", 1e6)
    monkeypatch.setattr(calibration, "_PATIENCE_S", 60)
    begun = threading.Event()

    def forever(_asked):
        begun.set()
        return 0

    store, others = Scanned(forever), set(threading.enumerate())
    with calibrating(store, tmp_path / "studies.calibration"):
        assert begun.wait(20)
    left = {thread.name for thread in threading.enumerate() if thread not in others}
    assert "calibration" not in left
    assert not store.breadths


def test_a_measurement_that_fails_is_logged_and_tried_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(calibration, "_LOOK_EVERY_S", 0.01)
    tried, twice = [], threading.Event()

    def fails(_asked):
        tried.append(1)
        if len(tried) == 2:
            twice.set()
        raise RuntimeError("Mrs. Doe")

    with calibrating(Scanned(fails), tmp_path / "studies.calibration"):
        assert twice.wait(20)
    captured = capsys.readouterr()
    assert "calibration failed" in captured.out + captured.err
    assert "Doe" not in captured.out + captured.err


@pytest.mark.filterwarnings("ignore::UserWarning:service")  # qdrant's local mode
def test_either_engine_gives_what_a_measurement_asks(store, study, pace):
    studies = [study(f"s{number}", sections=()) for number in range(30)]
    store.put(studies)
    drawn = list(calibration._drawn(store, "image", 100, pace))
    assert len(drawn) == len({point.id for point in drawn}) == store.count_parts("image") == 30
    assert store.in_graphs("image") == 0
    first, *_ = store.nearest("image", drawn[0].vector, 3, LADDER[0])
    assert first.id == drawn[0].id
    assert first.score == pytest.approx(1, abs=1e-3)


def test_a_search_is_as_broad_as_was_measured_and_broader_under_a_filter(
    edge, study, vector, monkeypatch
):
    edge.put([study("s")])
    edge.breadths["image"] = Breadth(32, 1.5)
    asked, nearest = [], edge._nearest
    monkeypatch.setattr(
        edge,
        "_nearest",
        lambda search, *rest, **how: asked.append(search) or nearest(search, *rest, **how),
    )
    for target, where, exclude, breadth in (
        ("image", EVERYTHING, NOBODY, Breadth(32, 1.5)),
        ("image", EVERYTHING, Exclusion(("another",)), Breadth(32, 1.5)),
        ("image", CaseFilter(view=("PA",)), NOBODY, Breadth(128, 1.5)),
        ("report", EVERYTHING, NOBODY, SUREST),
    ):
        (hit,) = edge.search(Search(target, vector("query")), k=1, where=where, exclude=exclude)
        assert hit.study_id == "s"
        assert asked[-1].breadth == breadth


@pytest.mark.slow
def test_a_library_with_graphs_finds_what_the_measurement_promises(
    open_edge, study, tmp_path, pace, monkeypatch
):
    """New queries, compared with numpy; under filters too, and by their exact cosines."""
    monkeypatch.setattr(calibration, "_QUERIES", 500)
    for module in (layout, upkeep):
        monkeypatch.setattr(module, "SCANNED", 1000)
    dimension, stored, asked = 1024, 5200, 40
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((stored + asked, dimension)).astype(np.float32)
    vectors[:, 40:] *= 0.1  # as of embeddings: few directions hold most of the spread
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store, model = open_edge(dimension=dimension), study("model", sections=(), report=False)
    for start in range(0, stored, 500):
        store.put(
            [
                replace(
                    model,
                    study=replace(model.study, study_id=f"s{number}", source=f"ward {number % 3}"),
                    image_vectors=(vectors[number],),
                )
                for number in range(start, min(start + 500, stored))
            ]
        )
    store.build_graphs()
    assert store.in_graphs("image") == stored
    calibrate(store, tmp_path / "studies.calibration", pace)
    assert store.breadths.keys() & PARTS == {"image"}
    for source in (None, 0):
        where = EVERYTHING if source is None else CaseFilter(source=(f"ward {source}",))
        numbers = np.arange(stored) if source is None else np.arange(source, stored, 3)
        found = 0
        for query in vectors[stored:]:
            scores = vectors[numbers] @ query
            best = {f"s{number}" for number in numbers[np.argsort(-scores)[:10]]}
            hits = store.search(Search("image", query), k=10, where=where, exclude=NOBODY)
            found += len(best & {hit.study_id for hit in hits})
            cosines = [vectors[int(hit.study_id[1:])] @ query for hit in hits]
            assert [hit.score for hit in hits] == pytest.approx(cosines, abs=1e-3)
        assert found / (10 * asked) > 0.97
    store.close()
