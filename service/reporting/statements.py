"""Decides whether one sentence follows from another.

Both are parsed into clauses (`service.reporting.clauses`). A passage supports a statement when it
says each of the statement's clauses: with all its words, the same polarity, and its sides and other
particulars. It contradicts a statement when it says the opposite of one clause. A denial with more
words denies something narrower.

A statement may leave words out and add none: each word, number and name that it needs must stand in
the passage (`service.reporting.vocabulary`), in this or in another term for the same thing
(`service.reporting.synonyms`). How near the two embeddings are never makes up for a word.

Examples, against the passage "Small left effusion, no pneumothorax.":

* "Left effusion." is supported: it adds nothing to the passage.
* "Large left effusion." and "Right effusion." are unsupported: each adds a particular.
* "Small left effusion, Smith." is unsupported: it adds a word.
* "No effusion." and "Pneumothorax." are contradicted.

docs/negation.md has an example of each rule.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from service.reporting.clauses import Clause, parse_clauses
from service.reporting.polarity import normalise
from service.reporting.sentences import Status
from service.reporting.synonyms import with_one_term
from service.reporting.vocabulary import compared_terms, fold
from service.reporting.wording import NORMAL, SEVERITY, SIDES

NEAR = 0.6
"""Share of common words, times the cosine, from which a clause denies the course of another."""
_SAYS_NOTHING = re.compile(
    r"\b(?:an?|the|there (?:is|are|was|were)"
    r"|(?:is|are|was|were) (?:seen|noted|present|identified|visuali[sz]ed|demonstrated|visible))\b"
)
_WORD = re.compile(r"[a-z]+")
_WEIGHTIEST_LAST: tuple[Status, ...] = ("unsupported", "supported", "contradicted")
_SILENT: tuple[Status, float] = ("unsupported", 0.0)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a sentence states, as the rules read it."""

    text: str
    """The normalised sentence."""
    gist: str
    """The text without articles, "there is" and "is seen", each word in one form. Equal gists say
    the same, even where the rules cannot read them."""
    clauses: tuple[Clause, ...]
    needs: frozenset[str]
    """The words and numbers that a passage must have to support it."""
    offers: frozenset[str]
    """The words and numbers that it may support in others."""

    @classmethod
    def of(cls, text: str) -> Self:
        """Parses a sentence."""
        text = with_one_term(" ".join(text.split()))
        normalised = normalise(text).rstrip(". ")
        needs, offers = compared_terms(text, normalised)
        return cls(normalised, _gist(normalised), parse_clauses(normalised), needs, offers)

    def ungraded(self) -> Self:
        """Returns the statement without its severity: "mild edema" → "edema"."""
        text = " ".join(SEVERITY.sub(" ", self.text).split())
        needs = frozenset(term for term in self.needs if not SEVERITY.fullmatch(term))
        return replace(self, text=text, gist=_gist(text), clauses=parse_clauses(text), needs=needs)


def compare(statement: Statement, passage: Statement, cosine: float) -> tuple[Status, float]:
    """Decides whether the passage says what the statement says, and how nearly, 0…1.

    cosine: of the embeddings of the two sentences.
    """
    if not statement.clauses:
        return _SILENT
    known = len(statement.needs & passage.offers) / max(1, len(statement.needs))
    adds = not statement.needs <= passage.offers
    if statement.gist == passage.gist:
        return ("unsupported", known) if adds else ("supported", 1.0)
    verdicts = [_judge(clause, passage.clauses, cosine) for clause in statement.clauses]
    opposed = [support for status, support in verdicts if status == "contradicted"]
    if opposed:
        return "contradicted", max(opposed)
    every = all(status == "supported" for status, _ in verdicts)
    support = min(support for _, support in verdicts)
    return ("unsupported" if adds or not every else "supported"), min(support, known)


def _gist(text: str) -> str:
    words = _WORD.sub(lambda word: fold(word[0]), _SAYS_NOTHING.sub(" ", text))
    return " ".join(words.split())


def _judge(clause: Clause, passage: Sequence[Clause], cosine: float) -> tuple[Status, float]:
    """Judges one clause by all clauses of a passage; one that opposes it outweighs the others."""
    verdicts = [_compare_clauses(clause, other, cosine) for other in passage]
    return max(verdicts, key=lambda v: (_WEIGHTIEST_LAST.index(v[0]), v[1]), default=_SILENT)


def _compare_clauses(clause: Clause, other: Clause, cosine: float) -> tuple[Status, float]:
    """Judges one clause of a statement by one clause of a passage.

    An affirmation follows from a clause that says as much or more: "effusion" follows from "left
    effusion". A denial must say exactly as much: "no effusion" does not follow from "no loculated
    effusion".
    """
    if "unclear" in (clause.polarity, other.polarity):
        return _SILENT
    if clause.polarity != other.polarity:
        denial, finding = (clause, other) if clause.polarity == "denied" else (other, clause)
        near = _nearness(denial.words - {NORMAL}, finding.words, cosine)
        opposed = near == 1 and denial.particulars <= finding.particulars
        return "contradicted" if opposed else "unsupported", near
    near = _nearness(clause.words, other.words, cosine)
    if near >= NEAR and (_denies_course(clause, other) or _denies_course(other, clause)):
        return "contradicted", near
    if clause.polarity == "denied":
        near *= other.words <= clause.words
    same = _denial_agrees if clause.polarity == "denied" else _affirmation_agrees
    follows = near == 1 and clause.doubted == other.doubted and same(clause, other)
    return "supported" if follows else "unsupported", near


def _nearness(words: frozenset[str], among: frozenset[str], cosine: float) -> float:
    """Returns 1 where all words occur among the others, else their share times the cosine."""
    share = len(words & among) / max(1, len(words))
    return 1.0 if share == 1 else share * max(cosine, 0.0)


def _denies_course(clause: Clause, other: Clause) -> bool:
    """Decides whether the clause denies a change that the other states.

    Example: "No increase in the effusion" (read as `nonincrease effusion`) against "Increase in the
    left effusion".
    """
    stated = {particular.removeprefix("non") for particular in clause.particulars}
    return stated != clause.particulars and stated <= other.particulars


def _affirmation_agrees(clause: Clause, other: Clause) -> bool:
    """Decides whether the clause adds no particular, and implies no other side than the passage."""
    sides = other.particulars & SIDES
    elsewhere = clause.implied and sides and not clause.implied & sides
    return clause.particulars <= other.particulars and not elsewhere


def _denial_agrees(clause: Clause, other: Clause) -> bool:
    """Decides whether both deny the same particulars, or both call the same structure normal.

    A side that the passage's list may imply must be one of the clause's own.
    """
    return (
        (NORMAL in clause.words) == (NORMAL in other.words)
        and clause.particulars == other.particulars
        and other.implied <= clause.particulars | clause.implied
    )
