"""Random operations on both engines and on a plain model give the same answers."""

import os
import random
from collections import Counter
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from service.cases.schema import NOBODY, CaseFilter, EmbeddedStudy, Exclusion, Search

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:service")  # qdrant's local mode
OPERATIONS = 150
SEEDS = int(os.environ.get("CONGRUENCE_SEEDS", "4"))
"""More of them for a longer look, as `CONGRUENCE_SEEDS=40 pytest …`: 6,000 operations."""
STUDIES = [f"s{n}" for n in range(25)]
PATIENTS = ["p0", "p1", "p2", None]
SOURCES = ["ward", "clinic"]
VIEWS = ["PA", "AP", "LL"]
FINDINGS = ["Edema", "Mass", "Effusion"]
SECTIONS = ["findings", "impression"]
TARGETS = ["image", "report", "passage"]


def some(rng, values, most=2):
    return tuple(rng.sample(values, rng.randint(0, most)))


def exact_vector(name):
    """A vector of unit length whose numbers float16 has exactly.

    So an engine that rounds gives the same scores as one that does not. Many scores are equal, and
    are ordered alike.
    """
    rng = random.Random(name)
    numbers = [1.0]
    for _ in range(rng.randint(2, 5)):
        numbers += [numbers.pop(rng.randrange(len(numbers))) / 2] * 4
    numbers = [number * rng.choice([-1, 1]) for number in numbers] + [0.0] * (16 - len(numbers))
    return np.array(rng.sample(numbers, 16), np.float32)


@pytest.fixture
def vector():
    return exact_vector


def exact(embedded):
    """The study, but for vectors that can be stored exactly."""
    vectors = {
        kind: tuple(exact_vector(f"{embedded.study.digest}/{kind}/{n}") for n in range(count))
        for kind, count in (
            ("image", len(embedded.image_vectors)),
            ("passage", len(embedded.passage_vectors)),
        )
    }
    report = None if embedded.report_vector is None else exact_vector(embedded.study.digest)
    return EmbeddedStudy(embedded.study, vectors["image"], report, vectors["passage"])


def random_study(rng, study):
    return exact(
        study(
            rng.choice(STUDIES),
            version=rng.randint(1, 1000),
            patient_id=rng.choice(PATIENTS),
            source=rng.choice(SOURCES),
            sections=tuple(rng.choices(SECTIONS, k=rng.randint(0, 6))),
            views=tuple(rng.choices([*VIEWS, None], k=rng.randint(0, 3))),
            report=rng.random() < 0.8,
            findings=some(rng, FINDINGS),
        )
    )


def random_query(rng, vector):
    target, query = rng.choice(TARGETS), vector(f"query {rng.random()}")
    return rng.choice(
        [
            Search(target, query),
            Search(target, query),
            Search(target, query, diversity=rng.choice([0.2, 0.9])),
            Search(target, words=" ".join(rng.sample(["report", "of", *map(str, range(9))], 3))),
        ]
    )


def random_search(rng, vector):
    where = CaseFilter(
        source=some(rng, SOURCES, 1),
        view=some(rng, VIEWS) if rng.random() < 0.3 else (),
        findings=some(rng, FINDINGS) if rng.random() < 0.3 else (),
        section=some(rng, SECTIONS, 1) if rng.random() < 0.3 else (),
    )
    exclude = Exclusion(some(rng, PATIENTS[:3]), rng.choice([None, *STUDIES[:5]]))
    return {
        "search": random_query(rng, vector),
        "k": rng.choice([1, 3, 10, 100]),
        "where": where,
        "exclude": exclude,
        "min_score": rng.choice([None, None, -0.2, 0.1, 0.4]),
        "group_by_study": rng.random() < 0.5,
    }


def model_parts(embedded, target):
    """(vector, views, section) of each part, straight from the schema."""
    study = embedded.study
    views = {image.view for image in study.images}
    if target == "image":
        return [
            (vector, {image.view}, None)
            for image, vector in zip(study.images, embedded.image_vectors, strict=True)
        ]
    if target == "report":
        return [] if embedded.report_vector is None else [(embedded.report_vector, views, None)]
    return [
        (vector, views, passage.section)
        for passage, vector in zip(study.passages, embedded.passage_vectors, strict=True)
    ]


def model_scores(model, *, search, k, where, exclude, min_score, group_by_study) -> list[float]:
    scores = {}
    for embedded in model.values():
        study = embedded.study
        if study.study_id == exclude.study_id:
            continue
        if study.patient_id in exclude.patient_ids:
            continue
        if where.source and study.source not in where.source:
            continue
        if where.findings and not set(where.findings) & set(study.findings):
            continue
        scores[study.study_id] = [
            float(np.dot(part, search.vector))
            for part, views, section in model_parts(embedded, search.target)
            if (not where.view or set(where.view) & views)
            and (not where.section or section in where.section)
        ]
    if group_by_study:
        scores = {study_id: [max(own)] for study_id, own in scores.items() if own}
    ranked = sorted((score for own in scores.values() for score in own), reverse=True)
    return [score for score in ranked if min_score is None or score >= min_score][:k]


def assert_same_hits(ours, theirs):
    assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs], abs=1e-5)
    for mine, other in zip(ours, theirs, strict=True):
        assert {**as_dict(mine), "score": 0} == {**as_dict(other), "score": 0}


def as_dict(hit):
    return {name: getattr(hit, name) for name in hit.__dataclass_fields__}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_both_engines_agree_with_each_other_and_with_a_plain_model(
    edge, server, study, vector, seed
):
    rng = random.Random(seed)
    stores, model = (edge, server), {}
    for _ in range(OPERATIONS):
        action = rng.choices(["put", "delete", "look", "search"], weights=[3, 1, 1, 5])[0]
        if action == "put":
            batch = [random_study(rng, study) for _ in range(rng.randint(1, 3))]
            for store in stores:
                store.put(batch)
            model |= {embedded.study.study_id: embedded for embedded in batch}
        elif action == "delete":
            study_id = rng.choice(STUDIES)
            known = model.pop(study_id, None) is not None
            assert [store.delete(study_id) for store in stores] == [known, known]
        elif action == "look":
            look(stores, model, rng)
        else:
            asked = random_search(rng, vector)
            ours, theirs = (store.search(**asked) for store in stores)
            assert_same_hits(ours, theirs)
            if asked["search"].vector is not None and asked["search"].diversity is None:
                expected = model_scores(model, **asked)
                assert [hit.score for hit in ours] == pytest.approx(expected, abs=1e-5)


def look(stores, model, rng):
    study_id = rng.choice(STUDIES)
    expected = model[study_id].study if study_id in model else None
    digests = {study_id: embedded.study.digest for study_id, embedded in model.items()}
    for store in stores:
        assert store.get(study_id) == expected
        assert store.digests(STUDIES) == digests
        assert_same_studies(store.get_many([*STUDIES, study_id]), model)
        assert store.count() == len(model)
        assert store.facets(CaseFilter()) == model_facets(model)


def assert_same_studies(stored, model):
    """Studies are equal, vectors as near as the engine's normalisation leaves them."""
    assert {study_id: embedded.study for study_id, embedded in stored.items()} == {
        study_id: embedded.study for study_id, embedded in model.items()
    }
    for study_id, embedded in stored.items():
        expected = model[study_id]
        assert (embedded.report_vector is None) == (expected.report_vector is None)
        for vectors, others in zip(vectors_of(embedded), vectors_of(expected), strict=True):
            assert len(vectors) == len(others)
            for vector, other in zip(vectors, others, strict=True):
                np.testing.assert_allclose(vector, other, atol=1e-6)


def vectors_of(embedded):
    report = () if embedded.report_vector is None else (embedded.report_vector,)
    return embedded.image_vectors, report, embedded.passage_vectors


def model_facets(model):
    studies = [embedded.study for embedded in model.values()]
    values = {
        "source": [{study.source} for study in studies],
        "view": [{image.view for image in study.images} - {None} for study in studies],
        "findings": [set(study.findings) for study in studies],
    }
    return {name: dict(Counter(chain.from_iterable(sets))) for name, sets in values.items()}


def test_both_engines_fuse_alike(edge, server, study, vector):
    studies = [
        replace(exact(one), study=replace(one.study, report="effusion " * n + "clear " * (n % 7)))
        for n in range(1, 40)
        for one in [study(f"s{n}", findings=("Mass",) * (n % 2))]
    ]
    for store in (edge, server):
        store.put(studies)
    for where in (CaseFilter(), CaseFilter(findings=("Mass",))):
        for k in (1, 5, 30):
            search = Search("report", vector(f"query {k}"), "clear effusion")
            ours, theirs = (
                store.search(search, k=k, where=where, exclude=NOBODY) for store in (edge, server)
            )
            assert_same_hits(ours, theirs)
            assert len(ours) == min(k, 20 if where.findings else 39)
