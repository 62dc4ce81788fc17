"""What every case store does, on both engines."""

from dataclasses import replace

import numpy as np
import pytest

from service.cases.points import to_hit, to_points, to_study, whole_studies
from service.cases.schema import NOBODY, CaseFilter, Exclusion, Identity, Search
from service.cases.server import ServerStore
from service.cases.soundness import require_found
from service.errors import BundleMismatch, SchemaMismatch
from tests.service.cases.conftest import ROUNDED, unit_vector

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:service")  # qdrant's local mode
ANYTHING = {"where": CaseFilter(), "exclude": Exclusion()}


def found_studies(store, vector, target="passage", k=100, **options):
    hits = store.search(Search(target, vector), k=k, **{**ANYTHING, **options})
    return [hit.study_id for hit in hits]


def test_every_part_of_a_study_is_a_point_with_one_vector_and_the_record_comes_last(study):
    points = to_points(study("s", sections=("findings",), views=("PA", "LL")))
    assert [point.part for point in points] == ["image", "image", "report", "passage", "study"]
    assert [list(point.vectors) for point in points] == [
        ["image"],
        ["image"],
        ["report"],
        ["passage"],
        [],
    ]


def test_point_ids_follow_from_source_study_and_part_alone(study):
    ids = [point.id for point in to_points(study("s"))]
    assert ids == [point.id for point in to_points(study("s", version=2))]
    assert len(set(ids)) == len(ids)
    assert not set(ids) & {point.id for point in to_points(study("s", source="elsewhere"))}
    assert not set(ids) & {point.id for point in to_points(study("t"))}


def test_a_study_comes_back_from_its_record(study):
    embedded = study("s", findings=("Edema",), views=("PA", None))
    assert to_study(to_points(embedded)[-1].payload) == embedded.study


def test_a_text_hit_shows_the_first_image_and_an_image_hit_itself(study):
    points = to_points(study("s", sections=("findings",), views=("PA", "LL")))
    _, lateral, report, passage = (to_hit(p.payload, 0.5) for p in points[:-1])
    assert (lateral.view, lateral.image_index, lateral.text) == ("LL", 1, None)
    assert (report.view, report.text, report.passage_id) == ("PA", "Report of s/1.", None)
    assert (passage.image_index, passage.passage_id) == (0, "p0")
    assert (passage.section, passage.score) == ("findings", 0.5)


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (Identity("a" * 64, "key", 16), "bundle aaaaaaaaaaaa, not bbbbbbbbbbbb"),
        (Identity("b" * 64, "other", 16), "hash key other, not key"),
        (Identity("b" * 64, "key", 8), "dimension 8, not 16"),
        (Identity("b" * 64, "key", 16, schema_version=0), "schema version 0, not 4"),
    ],
)
def test_another_identity_is_refused_with_a_word_on_what_differs(stored, said):
    with pytest.raises(BundleMismatch, match=said) as refused:
        Identity("b" * 64, "key", 16).require(stored)
    assert "again" in refused.value.detail


@pytest.mark.parametrize(
    ("version", "said"), [(2, "Index the studies again"), (3, "`eclip copy`"), (5, "newer program")]
)
def test_a_library_of_another_schema_version_is_refused_with_what_to_do(version, said):
    stored = Identity("b" * 64, "key", 16, schema_version=version)
    with pytest.raises(SchemaMismatch, match=f"schema version {version}, not 4") as refused:
        Identity("b" * 64, "key", 16).require(stored)
    assert said in refused.value.detail


def test_a_library_of_version_3_can_be_read_and_others_cannot():
    Identity("b" * 64, "key", 16, schema_version=3).require_readable()
    for version in (2, 5):
        with pytest.raises(SchemaMismatch, match="reads 3 to 4"):
            Identity("b" * 64, "key", 16, schema_version=version).require_readable()


def test_a_stored_study_comes_back_whole(store, study):
    embedded = study("s", findings=("Edema",), views=("PA", None))
    store.put([embedded, study("t")])
    assert store.get("s") == embedded.study
    assert store.get("unknown") is None
    assert store.count() == 2
    assert store.digests(["s", "t", "unknown"]) == {"s": "digest of s/1", "t": "digest of t/1"}
    store.check()


def test_many_studies_come_with_their_vectors_by_few_requests(store, study, monkeypatch):
    studies = {f"s{n}": study(f"s{n}", sections=("findings",) * (n % 5)) for n in range(60)}
    store.put(list(studies.values()))
    requests = []
    page = store._page
    monkeypatch.setattr(
        store, "_page", lambda *asked, **how: requests.append(asked) or page(*asked, **how)
    )
    wanted = ["s41", "unknown", "s0", "s41", *(f"s{n}" for n in range(10, 40))]
    found = store.get_many(wanted)
    assert len(requests) == (1 if isinstance(store, ServerStore) else 4)  # 4: kinds of points
    assert list(found) == list(dict.fromkeys(name for name in wanted if name != "unknown"))
    for name, embedded in found.items():
        assert embedded.study == studies[name].study
        ours = [embedded.report_vector, *embedded.image_vectors, *embedded.passage_vectors]
        expected = studies[name]
        theirs = [expected.report_vector, *expected.image_vectors, *expected.passage_vectors]
        np.testing.assert_allclose(ours, theirs, atol=ROUNDED)
    assert store.get_many([]) == {}


def test_a_study_of_more_points_than_one_answer_holds_comes_whole(store, study, monkeypatch):
    monkeypatch.setattr("service.cases.reading._POINTS_A_REQUEST", 3)
    long = study("long", sections=("findings",) * 9)
    store.put([long, study("s")])
    assert {name: one.study for name, one in store.get_many(["long", "s"]).items()} == {
        "long": long.study,
        "s": study("s").study,
    }


def test_a_study_without_a_digest_is_not_among_many(store, study):
    """Its replacement was cut short: its vectors may be of two versions."""
    half = study("half")
    store.put([replace(half, study=replace(half.study, digest="")), study("s")])
    assert list(store.get_many(["half", "s"])) == ["s"]


def test_digests_of_many_studies_come_in_one_call(store, study):
    store.put([study(f"s{n}", sections=(), views=(), report=True) for n in range(1500)])
    assert len(store.digests(f"s{n}" for n in range(2000))) == 1500


@pytest.mark.parametrize("target", ["image", "report", "passage"])
def test_a_part_is_found_by_its_own_vector_and_no_part_of_another_kind_is(
    store, study, vector, target
):
    store.put([study(f"s{n}") for n in range(5)])
    name = {"image": "s3/1/image/0", "report": "s3/1/report", "passage": "s3/1/passage/0"}[target]
    hits = store.search(Search(target, vector(name)), k=100, **ANYTHING)
    assert hits[0].study_id == "s3"
    assert hits[0].score == pytest.approx(1, abs=ROUNDED)
    assert {hit.part for hit in hits} == {target}
    assert len(hits) == (10 if target == "passage" else 5)
    assert hits == sorted(hits, key=lambda hit: -hit.score)
    assert hits[0].metadata == {"age": 61, "dose": 2.0, "portable": True, "site": "north"}


def test_a_newer_version_leaves_nothing_of_the_older(store, study, vector):
    store.put([study("s", sections=("findings",) * 5, views=("PA", "LL")), study("t")])
    smaller = study("s", version=2, sections=("findings",), views=(), report=False)
    store.put([smaller])
    assert store.get("s") == smaller.study
    assert store.count() == 2
    assert found_studies(store, vector("any")).count("s") == 1
    assert found_studies(store, vector("any"), "image") == ["t"]
    assert found_studies(store, vector("any"), "report") == ["t"]


def test_a_version_from_another_source_replaces_too(store, study, vector):
    store.put([study("s")])
    store.put([study("s", version=2, source="elsewhere")])
    assert store.count() == 1
    assert len(found_studies(store, vector("any"))) == 2


def test_the_last_of_two_versions_in_one_call_wins(store, study, vector):
    store.put([study("s", sections=("findings",) * 5), study("s", version=2, sections=())])
    assert store.digests(["s"]) == {"s": "digest of s/2"}
    assert found_studies(store, vector("any")) == []


def test_writing_the_same_twice_changes_nothing(store, study, vector):
    for _ in range(2):
        store.put([study("s")])
    assert store.count() == 1
    assert len(found_studies(store, vector("any"))) == 2


def test_putting_nothing_is_no_error(store):
    store.put([])
    assert store.count() == 0
    assert store.digests([]) == {}


def test_a_deleted_study_is_gone_with_all_its_parts(store, study, vector):
    store.put([study("s"), study("t")])
    assert store.delete("s")
    assert not store.delete("s")
    assert store.get("s") is None
    assert store.count() == 1
    assert set(found_studies(store, vector("any"))) == {"t"}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (CaseFilter(), {"a", "b", "c"}),
        (CaseFilter(source=("ward",)), {"a", "b"}),
        (CaseFilter(source=("ward", "clinic")), {"a", "b", "c"}),
        (CaseFilter(view=("LL",)), {"a", "b"}),
        (CaseFilter(findings=("Edema", "Mass")), {"b", "c"}),
        (CaseFilter(section=("impression",)), {"c"}),
        (CaseFilter(source=("ward",), findings=("Edema",)), {"b"}),
        (CaseFilter(source=("nowhere",)), set()),
    ],
)
def test_a_filter_is_a_conjunction_of_any_ofs(store, study, vector, where, expected):
    store.put(
        [
            study("a", views=("PA", "LL"), sections=("findings",)),
            study("b", views=("LL",), sections=("findings",), findings=("Edema", "Effusion")),
            study("c", source="clinic", sections=("impression",), findings=("Mass",)),
        ]
    )
    assert set(found_studies(store, vector("any"), where=where)) == expected


def test_a_view_filter_on_images_looks_at_each_image(store, study, vector):
    store.put([study("s", views=("PA", "LL", None))])
    hits = store.search(
        Search("image", vector("any")), k=10, where=CaseFilter(view=("LL",)), exclude=Exclusion()
    )
    assert [hit.view for hit in hits] == ["LL"]


def test_an_excluded_patient_or_study_never_comes_back(store, study, vector):
    store.put([study("a", patient_id="p"), study("b", patient_id="q"), study("c", patient_id=None)])
    query = vector("a/1/passage/0")

    def found(**exclude):
        return set(found_studies(store, query, exclude=Exclusion(**exclude)))

    assert found(patient_ids=("p",)) == {"b", "c"}
    assert found(study_id="a") == {"b", "c"}
    assert found(patient_ids=("p",), study_id="b") == {"c"}
    assert found(patient_ids=("p", "q")) == {"c"}
    assert found(patient_ids=("nobody",)) == {"a", "b", "c"}


def test_grouping_gives_the_best_part_of_each_of_the_k_best_studies(store, study, vector):
    store.put([study(f"s{n}", sections=("findings",) * (1 + 20 * (n % 3))) for n in range(12)])
    hits = store.search(Search("passage", vector("any")), k=1000, **ANYTHING)
    best = {hit.study_id: hit for hit in reversed(hits)}
    expected = sorted(best.values(), key=lambda hit: -hit.score)
    for k in (1, 5, 12, 50):
        grouped = store.search(
            Search("passage", vector("any")), k=k, group_by_study=True, **ANYTHING
        )
        assert [hit.text for hit in grouped] == [hit.text for hit in expected[:k]]


def test_grouping_reaches_the_studies_behind_one_with_very_many_passages(store, study, vector):
    crowd = study("crowd", sections=("findings",) * 100)
    query = vector("any")
    store.put([crowd, *(study(f"s{n}") for n in range(3))])
    found = found_studies(store, query, k=4, group_by_study=True)
    assert sorted(found) == ["crowd", "s0", "s1", "s2"]


@pytest.mark.parametrize(("min_score", "expected"), [(0.59, 1), (0.6, 1), (0.601, 0), (-1, 2)])
def test_a_minimal_score_is_inclusive(store, study, min_score, expected):
    query, near, opposite = np.zeros((3, 16), np.float32)
    query[0], near[:2], opposite[0] = 1, (0.6, 0.8), -1
    store.put([replace(study("s"), passage_vectors=(near, opposite))])
    found = found_studies(store, query, min_score=min_score)
    assert len(found) == expected


def test_equal_scores_come_in_one_order_on_every_call(store, study, vector):
    same = vector("same")
    twins = [
        replace(study(f"s{n}", sections=("findings",)), passage_vectors=(same,)) for n in range(6)
    ]
    store.put(twins)
    first = found_studies(store, same)
    store.put(twins[::-1])
    assert found_studies(store, same) == first


def test_k_must_be_positive(store, vector):
    with pytest.raises(ValueError, match="k must be"):
        store.search(Search("passage", vector("any")), k=0, **ANYTHING)


@pytest.mark.parametrize(
    "bad",
    [np.ones(3, np.float32), np.zeros(16, np.float32), np.full(16, np.nan, np.float32)],
    ids=["dimension", "length", "nan"],
)
def test_a_vector_of_another_dimension_or_length_is_refused_and_nothing_is_written(
    store, study, vector, bad
):
    broken = replace(study("s", sections=("findings",)), passage_vectors=(bad,))
    with pytest.raises(ValueError, match="unit length"):
        store.put([study("t"), broken])
    assert store.count() == 0
    assert found_studies(store, vector("any"), "image") == []
    with pytest.raises(ValueError, match="unit length"):
        store.search(Search("passage", bad), k=1, **ANYTHING)


def written(study, study_id, *texts, **fields):
    """A study whose passages are these texts; its vectors are as ever."""
    plain = study(study_id, sections=("findings",) * len(texts), **fields)
    passages = tuple(
        replace(passage, text=text)
        for passage, text in zip(plain.study.passages, texts, strict=True)
    )
    return replace(plain, study=replace(plain.study, passages=passages))


def found_texts(store, ask, k=100, **options):
    hits = store.search(ask, k=k, **{**ANYTHING, **options})
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    return [hit.text for hit in hits]


DENIED, STATED, OTHER = "No pneumothorax.", "Large left pneumothorax.", "The heart is enlarged."


def test_words_find_what_was_written_and_nothing_else(store, study):
    store.put([written(study, "a", DENIED, OTHER), written(study, "b", STATED)])
    assert found_texts(store, Search("passage", words="pneumothorax")) == [DENIED, STATED]
    assert found_texts(store, Search("passage", words="a LARGE pneumothorax"))[0] == STATED
    assert found_texts(store, Search("passage", words="no pneumothorax"))[0] == DENIED
    assert found_texts(store, Search("passage", words="enlarged hearts")) == [OTHER]
    assert found_texts(store, Search("passage", words="nodule")) == []
    assert found_texts(store, Search("passage", words="?")) == []


def test_texts_without_vectors_are_stored_whole_and_found_by_their_words(store, study):
    """As a bundle writes them that encodes images alone."""
    plain = written(study, "a", DENIED, OTHER)
    silent = replace(plain, report_vector=None, passage_vectors=())
    store.put([silent])
    (whole,) = store.get_many(["a"]).values()
    assert (whole.study, whole.report_vector, whole.passage_vectors) == (plain.study, None, ())
    np.testing.assert_allclose(whole.image_vectors, plain.image_vectors, atol=ROUNDED)
    assert found_texts(store, Search("passage", words="pneumothorax")) == [DENIED]
    assert found_studies(store, plain.image_vectors[0], "image") == ["a"]
    assert found_studies(store, plain.report_vector, "report") == []
    require_found(store)
    store.delete("a")
    assert store.get_many(["a"]) == {}


@pytest.mark.parametrize("lost", ["image", "passage"])
def test_a_study_that_lost_a_vector_is_not_whole(study, lost):
    points = to_points(study("s", views=("PA", "LL")))
    place = next(at for at, point in enumerate(points) if point.part == lost)
    assert len(list(whole_studies(["s"], points))) == 1
    points[place] = replace(points[place], vector=None)
    assert list(whole_studies(["s"], points)) == []


def test_words_of_reports_and_of_passages_are_apart(store, study):
    store.put([written(study, "a", STATED)])
    assert found_texts(store, Search("report", words="pneumothorax")) == []
    assert found_texts(store, Search("report", words="report")) == ["Report of a/1."]
    assert found_texts(store, Search("passage", words="report")) == []


def test_filters_exclusions_and_grouping_hold_for_words_too(store, study):
    store.put(
        [
            written(study, "a", STATED, STATED, DENIED, patient_id="p1"),
            written(study, "b", STATED, patient_id="p2", source="clinic"),
        ]
    )
    for ask in (
        Search("passage", words="pneumothorax"),
        Search("passage", unit_vector("q"), "pneumothorax"),
    ):
        hits = store.search(ask, k=10, where=CaseFilter(), exclude=Exclusion(("p1",)))
        assert [hit.study_id for hit in hits] == ["b"]
        hits = store.search(ask, k=10, where=CaseFilter(source=("ward",)), exclude=NOBODY)
        assert {hit.study_id for hit in hits} == {"a"}
        grouped = store.search(ask, k=10, group_by_study=True, **ANYTHING)
        assert sorted(hit.study_id for hit in grouped) == ["a", "b"]


def test_both_rankings_count_where_meaning_and_words_are_asked(store, study, vector):
    """Reciprocal rank fusion: first in both is before first in one."""
    store.put([written(study, f"s{n}", f"Finding {n}.") for n in range(6)])
    nearest = vector("s3/1/passage/0")
    both = store.search(Search("passage", nearest, "finding 3"), k=6, **ANYTHING)
    assert both[0].study_id == "s3"
    other = store.search(Search("passage", nearest, "5"), k=6, **ANYTHING)
    assert {hit.study_id for hit in other[:2]} == {"s3", "s5"}
    assert len(other) == 6
    nothing = store.search(Search("passage", nearest, "?"), k=6, **ANYTHING)
    assert [hit.study_id for hit in nothing] == found_studies(store, nearest, k=6)


def test_diverse_hits_are_unlike_each_other(store, study):
    """Nine copies of the nearest passage: without diversity they fill the answer."""
    axes = np.eye(16, dtype=np.float32)
    query = (axes[0] * 4 + axes[1] * 2 + axes[2]).astype(np.float32)
    query /= np.linalg.norm(query)
    alike = [
        replace(study(f"s{n}", sections=("findings",)), passage_vectors=(axes[0],))
        for n in range(9)
    ]
    others = [
        replace(study(f"o{n}", sections=("findings",)), passage_vectors=(axes[n],)) for n in (1, 2)
    ]
    store.put([*alike, *others])
    plain = found_studies(store, query, k=3)
    assert all(name.startswith("s") for name in plain)
    diverse = store.search(Search("passage", query, diversity=0.7), k=3, **ANYTHING)
    assert sorted(hit.study_id[0] for hit in diverse) == ["o", "o", "s"]
    assert diverse[0].score == pytest.approx(float(query[0]), abs=ROUNDED)


def test_facets_count_studies_not_their_parts(store, study):
    store.put(
        [
            study("a", views=("PA", "LL"), findings=("Mass",), source="ward"),
            study("b", views=("PA", "PA", None), findings=("Mass", "Edema"), source="ward"),
            study("c", views=(), source="clinic"),
        ]
    )
    assert store.facets(CaseFilter()) == {
        "source": {"clinic": 1, "ward": 2},
        "view": {"LL": 1, "PA": 2},
        "findings": {"Edema": 1, "Mass": 2},
    }
    edema = CaseFilter(findings=("Edema",))
    assert store.count(edema) == 1
    assert store.facets(edema)["view"] == {"PA": 1}
    assert store.count(CaseFilter(view=("LL", "PA"))) == 2


def test_a_patients_studies_are_found_by_the_patient(store, study):
    store.put(
        [study("a", patient_id="p1"), study("b", patient_id="p2"), study("c", patient_id="p1")]
    )
    assert sorted(one.study_id for one in store.studies_of("p1")) == ["a", "c"]
    assert store.studies_of("p3") == []


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"diversity": 0.5},
        {"words": "a", "diversity": 0.5},
        {"vector": np.ones(2, np.float32), "words": "a", "diversity": 0.5},
    ],
)
def test_what_cannot_be_ranked_is_refused(asked):
    with pytest.raises(ValueError, match="search"):
        Search("passage", **asked)
