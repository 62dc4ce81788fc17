import pytest

from service.bundle.labels import Prompts
from training.evaluate.prompt_retrieval import prompt_retrieval
from training.evaluate.suite import run_suite

DIRECTIONS = {"A nodule.": (1, 0), "Nodule.": (0, -1), "Mass.": (0, 1)}
NODULE = Prompts(present=("A nodule.", "Nodule."))
MASS = Prompts(present=("Mass.",))
# Nearest to (1, 0) first: n n m n n m …; nearest to (0, 1): the other way round.
VECTORS = [(90, 1), (90, 9), (90, 20), (90, 30), (90, 50), (90, 90), (50, 90), (20, 90)]
FINDINGS = [["nodule"], ["nodule"], ["mass"], ["nodule"], ["nodule"], ["mass"], ["mass"], []]


def test_each_prompt_searches_by_itself_and_is_right_by_its_finding(pairs, embedded):
    test = embedded(pairs(VECTORS, FINDINGS), DIRECTIONS)
    found = prompt_retrieval(test, {"nodule": NODULE, "mass": MASS})
    assert list(found) == ["precision@5/prompt-to-image"]
    five = found["precision@5/prompt-to-image"]
    # "A nodule." and "Nodule." find the first five; "Mass." the last five, two with a mass.
    assert five.value == pytest.approx((4 / 5 + 4 / 5 + 2 / 5) / 3)
    assert five.chance == pytest.approx((4 / 8 + 4 / 8 + 3 / 8) / 3)
    assert (five.n, five.low) == (3, None)


def test_a_label_that_all_or_no_image_has_asks_nothing(pairs, embedded):
    test = embedded(pairs(VECTORS, FINDINGS), DIRECTIONS)
    alone = prompt_retrieval(test, {"nodule": NODULE})
    assert prompt_retrieval(test, {"nodule": NODULE, "never": MASS}) == alone
    assert prompt_retrieval(test, {"never": MASS}) == {}
    assert prompt_retrieval(test, {}) == {}


def test_it_is_part_of_retrieval(pairs, encoder):
    labels = {"nodule": NODULE, "mass": MASS}
    result = run_suite(
        encoder(DIRECTIONS), pairs(VECTORS, FINDINGS), None, labels, measures=("retrieval",)
    )
    values = result.sections["retrieval"].values
    assert {"precision@5/prompt-to-image", "precision@5/image-to-image"} <= values.keys()
