"""Which parts a search returns, in which order: fusion, equal scores, and rarity of words."""

import random
from dataclasses import replace

import numpy as np
import pytest

from service.cases.edge import EdgeStore
from service.cases.operations import ALL_POINTS
from service.cases.points import ScoredPoint
from service.cases.ranking import RANK_OFFSET, best_of_each_study, diverse
from service.cases.schema import EVERYTHING, NOBODY, CaseFilter, Search
from tests.service.cases.conftest import IDENTITY, ROUNDED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning:service"),  # qdrant's local mode
]
SAME = 70
"""Studies with the same report, image and vectors."""


def found(store, search, k=10, **asked):
    hits = store.search(search, k=k, where=EVERYTHING, exclude=NOBODY, **asked)
    return [(hit.study_id, hit.part, pytest.approx(hit.score, abs=ROUNDED)) for hit in hits]


def reporting(embedded, report):
    return replace(embedded, study=replace(embedded.study, report=report))


@pytest.fixture
def same(study):
    """Studies that differ in nothing but their ids."""
    model = study("model", sections=("findings",))
    texts = [replace(passage, text="No effusion.") for passage in model.study.passages]
    shared = {"report": "No effusion.", "passages": tuple(texts)}
    return [
        replace(model, study=replace(model.study, study_id=f"s{number}", **shared))
        for number in range(SAME)
    ]


@pytest.fixture
def two_stores(store, path):
    """A store of either engine, and one of Edge, for the same studies."""
    other = EdgeStore(path.parent / "other", IDENTITY)
    yield store, other
    other.close()


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(
    ("target", "by_vector", "words", "diversity"),
    [
        ("image", True, None, None),
        ("report", True, None, None),
        ("report", True, None, 0.5),
        ("report", False, "effusion", None),
        ("passage", True, "no effusion", None),
    ],
)
def test_equal_scores_are_cut_off_alike_whatever_the_order_of_writing(
    two_stores, same, vector, target, by_vector, words, diversity, grouped
):
    one, other = two_stores
    one.put(same)
    shuffled = random.Random(0).sample(same, SAME)
    for start in range(0, SAME, 7):
        other.put(shuffled[start : start + 7])
    search = Search(target, vector("query") if by_vector else None, words, diversity)
    for k in (1, 5, SAME - 1):
        answers = [found(store, search, k, group_by_study=grouped) for store in (one, other)]
        assert answers[0] == answers[1]
        assert len(answers[0]) == k


def test_equal_scores_below_a_better_one_are_cut_off_alike(two_stores, same, study, vector):
    for store, seed in zip(two_stores, (1, 2), strict=True):
        store.put([*random.Random(seed).sample(same, SAME), study("nearest")])
    search = Search("report", vector("nearest/1/report"))
    one, other = (found(store, search, 4) for store in two_stores)
    assert one == other
    assert one[0][0] == "nearest"


def test_diverse_hits_have_the_highest_marginal_relevance():
    """The second point repeats the first; the third is farther from the query, but new."""
    vectors = np.array([[0.8, 0.6], [0.8, 0.6], [0.6, -0.8], [-1, 0]], np.float32)
    points = [ScoredPoint(f"p{n}", float(v[0]), v) for n, v in enumerate(vectors)]

    def chosen(diversity, k):
        return [p.id for p in diverse(lambda *_: points, diversity, ALL_POINTS, k)]

    assert chosen(0.1, 2) == ["p0", "p1"]
    assert chosen(0.5, 2) == ["p0", "p2"]
    assert chosen(1.0, 2) == ["p0", "p3"]
    assert chosen(0.5, 9) == ["p0", "p1", "p2", "p3"]
    assert diverse(lambda *_: [], 0.5, ALL_POINTS, 3) == []


def test_of_each_study_only_as_many_candidates_are_read_as_it_takes():
    """The first three points are of two studies, so three more are read, and no further ones."""
    points = [ScoredPoint(f"p{n}", 1 - n / 10) for n in range(9)]
    studies, read = "aabcdefgh", []

    def payloads(ids):
        read.extend(ids)
        return {id: {"study_id": studies[int(id[1:])]} for id in ids}

    best = best_of_each_study(lambda *_: points, payloads, ALL_POINTS, 3)
    assert [point.id for point in best] == ["p0", "p2", "p3"]
    assert read == [f"p{n}" for n in range(6)]


def test_the_first_place_of_both_rankings_scores_two_over_offset_and_one(store, study, vector):
    store.put([study("first"), study("second")])
    (best, *_) = found(store, Search("report", vector("first/1/report"), "first"))
    assert best == ("first", "report", 2 / (RANK_OFFSET + 1))
    assert RANK_OFFSET + 1 == 61


def test_the_fused_score_has_a_lower_bound_too(store, study, vector):
    store.put([study("first"), study("second")])
    search = Search("report", vector("first/1/report"), "first")
    hits = found(store, search, min_score=1.5 / 61)
    assert [study_id for study_id, *_ in hits] == ["first"]


WORDED = [Search("report", words=words) for words in ("effusion clear", "lung", "nodule 41")]


def thinned(store, study):
    """Deletes half of a word's bearers from the store; returns what is left."""
    studies = [
        reporting(study(f"s{number}"), f"effusion nodule {number}" if number % 2 else "clear lung")
        for number in range(60)
    ]
    store.put(studies)
    for each in studies[1:31:2]:
        store.delete(each.study.study_id)
    return [*studies[0:31:2], *studies[31:]]


def test_deleted_texts_do_not_count_in_the_rarity_of_words(two_stores, study):
    store, fresh = two_stores
    fresh.put(thinned(store, study))
    for search in WORDED:
        assert found(store, search, 60) == found(fresh, search, 60)


def test_word_scores_do_not_change_with_a_restart(open_edge, study):
    store = open_edge()
    thinned(store, study)
    before = [found(store, search) for search in WORDED]
    store.close()
    store = open_edge()
    assert [found(store, search) for search in WORDED] == before
    store.close()


def test_the_rarity_of_words_does_not_depend_on_the_filter(store, study):
    sources = ["clinic", *["ward"] * 8]
    named = [study(f"s{number}", source=source) for number, source in enumerate(sources)]
    store.put([reporting(each, "mass") for each in named])
    asked = {"search": Search("report", words="mass"), "k": 9, "exclude": NOBODY}
    (narrow,) = store.search(**asked, where=CaseFilter(source=("clinic",)))
    assert narrow in store.search(**asked, where=EVERYTHING)
