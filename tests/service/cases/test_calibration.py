"""Each library is measured, and searched as broadly as it needs to find what is nearest."""

import json
import threading
import uuid
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from service.cases import calibration, layout, recall, upkeep
from service.cases.breadth import LADDER, SUREST, Breadth
from service.cases.calibration import calibrate, calibrating
from service.cases.library import Query
from service.cases.points import Point, ScoredPoint
from service.cases.recall import Pace, least_breadths
from service.cases.schema import EVERYTHING, NOBODY, CaseFilter, Exclusion, Search
from service.cases.search import SearchRequest, search
from service.reporting.report import ReportRequest
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
    monkeypatch.setattr(recall, "_REST", 0)
    monkeypatch.setattr(calibration, "_FIRST_LOOK_S", 0)


@pytest.fixture
def pace():
    return Pace(threading.Event())


def under(ef, missed):
    """Misses so many of the nearest with less than this breadth."""
    return lambda asked: missed if asked.breadth.ef < ef else 0


@pytest.mark.parametrize("needed", LADDER)
def test_the_least_breadth_that_finds_the_nearest_is_chosen(pace, needed):
    found = least_breadths(Scanned(under(needed.ef, 1)), "image", pace)
    assert found == {"image": (needed, 1)}


def test_a_library_in_which_no_breadth_suffices_is_searched_by_the_last(pace):
    breadth, recall = least_breadths(Scanned(under(10_000, 1)), "image", pace)["image"]
    assert breadth == SUREST
    assert recall == pytest.approx(0.9, abs=0.02)


def test_a_search_that_finds_nothing_near_has_no_recall(pace, monkeypatch):
    monkeypatch.setattr(recall, "_QUERIES", PARTS_STORED)
    store = Scanned(under(10_000, 50), ("image", "report"))
    assert least_breadths(store, "image", pace)["text"] == (SUREST, 0)


@pytest.mark.parametrize("answered", [0, 4])
def test_a_short_answer_has_found_nothing(pace, monkeypatch, answered):
    """A graph of which a part is out of reach gives fewer hits than there are parts."""
    store = Scanned(under(0, 0))
    whole = store.nearest
    monkeypatch.setattr(store, "nearest", lambda *asked: whole(*asked)[:answered])
    assert least_breadths(store, "image", pace) == {"image": (SUREST, 0)}


def test_a_target_reached_by_luck_does_not_count(pace, monkeypatch):
    """Of 300 queries that miss nothing, the interval begins at .991; of 200 at .987."""
    assert least_breadths(Scanned(under(0, 0)), "image", pace) == {"image": (LADDER[0], 1)}
    monkeypatch.setattr(recall, "_QUERIES", 200)
    assert least_breadths(Scanned(under(0, 0)), "image", pace) == {"image": (SUREST, 1)}


@pytest.mark.parametrize("compared", [150, 15])
def test_a_sample_stands_for_the_library(pace, monkeypatch, compared):
    """Of 15 in 300 parts each miss in the sample stands for 20."""
    monkeypatch.setattr(recall, "_COMPARED", compared)
    store = Scanned(under(10_000, 1))
    recalls = [least_breadths(store, "image", pace)["image"][1] for _ in range(5)]
    assert np.mean(recalls) == pytest.approx(0.9, abs=0.05)


def test_images_and_texts_search_as_broadly_as_each_of_them_must(pace, monkeypatch):
    """Reports miss two of the nearest images with few candidates; images miss none."""
    monkeypatch.setattr(recall, "_QUERIES", PARTS_STORED)
    store = Scanned(lambda asked: 0 if asked.own else under(128, 2)(asked), ("image", "report"))
    found = least_breadths(store, "image", pace)
    assert found == {"image": (LADDER[0], 1), "text": (Breadth(128, 2), 1)}


def test_too_few_queries_of_a_kind_prove_nothing(pace, monkeypatch):
    monkeypatch.setattr(recall, "_QUERIES", PARTS_STORED + 1)
    store = Scanned(under(0, 0), ("image", "report"))
    assert least_breadths(store, "image", pace).keys() == {"image"}
    assert least_breadths(store, "report", pace).keys() == {"text"}


def test_of_reports_and_passages_those_that_find_less_decide(pace, monkeypatch):
    monkeypatch.setattr(recall, "_QUERIES", PARTS_STORED)
    store = Scanned(lambda asked: 0 if asked.own else 2, ("report", "passage"))
    (found,) = least_breadths(store, "passage", pace).values()
    assert found == (SUREST, pytest.approx(0.8))


def test_what_was_measured_is_used_shown_and_kept(tmp_path, pace):
    store, file = Scanned(under(64, 3)), tmp_path / "studies.calibration"
    calibrate(store, file, pace)
    assert store.breadths == {("image", "image"): Breadth(64, 2)}
    for name, value in (("eclip_library_ef", 64), ("eclip_library_recall", 1)):
        assert REGISTRY.get_sample_value(name, {"query": "image", "part": "image"}) == value
    reopened = Scanned(under(64, 3))
    with calibrating(reopened, file):
        assert reopened.breadths == store.breadths
    assert reopened.asked == 0


SEARCHES = """{"bundle_id": "b", "searches": [{"vector_of": "image", "part": "image",
    "breadth": {"ef": %s, "oversampling": 2}, "recall": 1, "points": 300}]}"""


@pytest.mark.parametrize(
    "content",
    [
        *(
            "",
            "[]",
            "{}",
            '{"bundle_id": "b", "searches": [[]]}',
            '{"bundle_id": "b", "parts": {}}',
        ),
        SEARCHES % '"x"',
        SEARCHES % -5,
    ],
)
def test_a_file_that_is_damaged_counts_as_none(tmp_path, pace, content):
    store, file = Scanned(under(0, 0)), tmp_path / "studies.calibration"
    file.write_text(content.replace('"b"', f'"{IDENTITY.bundle_id}"'))
    calibrate(store, file, pace)
    (search,) = json.loads(file.read_text())["searches"]
    assert search["part"] == "image"


def test_a_measurement_is_used_where_its_file_cannot_be_written(tmp_path, pace):
    store, file = Scanned(under(64, 3)), tmp_path / "no folder" / "studies.calibration"
    file.parent.touch()
    with pytest.raises(FileExistsError):
        calibrate(store, file, pace)
    assert store.breadths == {("image", "image"): Breadth(64, 2)}


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
    assert store.breadths.keys() == {("image", "image")}


def test_closing_ends_a_measurement(tmp_path, monkeypatch):
    monkeypatch.setattr(recall, "_REST", 1e6)
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
    drawn = list(recall._drawn(store, "image", 100, pace))
    assert len(drawn) == len({point.id for point in drawn}) == store.count_parts("image") == 30
    assert store.in_graphs("image") == 0
    first, *_ = store.nearest("image", drawn[0].vector, 3, LADDER[0])
    assert first.id == drawn[0].id
    assert first.score == pytest.approx(1, abs=1e-3)


def test_a_search_is_as_broad_as_was_measured_and_broader_under_a_filter(
    edge, study, vector, monkeypatch
):
    edge.put([study("s")])
    edge.breadths["image", "image"] = Breadth(32, 1.5)
    asked, nearest = [], edge._nearest
    monkeypatch.setattr(
        edge,
        "_nearest",
        lambda search, *rest, **how: asked.append(search) or nearest(search, *rest, **how),
    )
    for target, vector_of, where, exclude, breadth in (
        ("image", "image", EVERYTHING, NOBODY, Breadth(32, 1.5)),
        ("image", "image", EVERYTHING, Exclusion(("another",)), Breadth(32, 1.5)),
        ("image", "image", CaseFilter(view=("PA",)), NOBODY, Breadth(128, 1.5)),
        ("image", "text", EVERYTHING, NOBODY, SUREST),
        ("image", None, EVERYTHING, NOBODY, SUREST),
        ("report", "image", EVERYTHING, NOBODY, SUREST),
    ):
        asking = Search(target, vector("query"), vector_of=vector_of)
        (hit,) = edge.search(asking, k=1, where=where, exclude=exclude)
        assert hit.study_id == "s"
        assert asked[-1].breadth == breadth


def test_the_service_says_whether_an_image_or_a_text_asks(
    client, radiograph, deadline, monkeypatch
):
    services = client.app.state.services
    asked, searched = [], services.library.store.search
    monkeypatch.setattr(
        services.library.store,
        "search",
        lambda search, **how: asked.append(search.vector_of) or searched(search, **how),
    )
    query = Query("report", 1, NOBODY)
    for said in ({"image": radiograph}, {"text": "Effusion."}):
        search(services.library, services.encoder, SearchRequest(query, **said), deadline)
    services.reporter.report(
        [services.encoder.image(radiograph, deadline)], ReportRequest(k=1), deadline
    )
    assert asked[:2] == ["image", "text"]
    assert {*asked[2:]} == {"image"}


@pytest.mark.slow
def test_a_library_with_graphs_finds_what_the_measurement_promises(
    open_edge, study, tmp_path, pace, monkeypatch
):
    """New queries, compared with numpy; under filters too, and by their exact cosines."""
    monkeypatch.setattr(recall, "_QUERIES", 500)
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
    assert store.breadths.keys() == {("image", "image")}
    for source in (None, 0):
        where = EVERYTHING if source is None else CaseFilter(source=(f"ward {source}",))
        numbers = np.arange(stored) if source is None else np.arange(source, stored, 3)
        found = 0
        for query in vectors[stored:]:
            scores = vectors[numbers] @ query
            best = {f"s{number}" for number in numbers[np.argsort(-scores)[:10]]}
            by_image = Search("image", query, vector_of="image")
            hits = store.search(by_image, k=10, where=where, exclude=NOBODY)
            found += len(best & {hit.study_id for hit in hits})
            cosines = [vectors[int(hit.study_id[1:])] @ query for hit in hits]
            assert [hit.score for hit in hits] == pytest.approx(cosines, abs=1e-3)
        assert found / (10 * asked) > 0.97
    store.close()
