"""Parses a sentence of a report into clauses: what each states, and whether it affirms or denies.

Example: "No effusion, but a small left nodule." has two clauses: `effusion`, denied, and `nodule`
with the particulars `small` and `left`, affirmed.

The scope of a denial follows NegEx (`service.reporting.polarity`): it runs forward from its cue
("no …") or backward from it ("… is absent", "… has resolved"), to the end of the scope. Within a
list, a denial surely covers the members that `or` joins; otherwise the other members are `unclear`.
So are sentences in a language that the rules cannot read.

medspaCy and negspaCy implement ConText and NegEx too. They need spaCy and a model or rules that
first find the entities, and they mark each entity as negated or uncertain; grounding also compares
the side, the place and the severity of each finding, so it would still need most of these rules.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from service.reporting.polarity import CUE, Polarity, polarity_of_normalised
from service.reporting.wording import (
    DOUBT,
    NORMAL,
    SIDES,
    TOKEN,
    particulars,
    says_something,
    words,
)

MAX_CHARS = 1000
"""Characters: a longer text is one `unclear` clause."""
MAX_CLAUSES = 24
"""Clauses: a text with more is one `unclear` clause."""
_UNREADABLE = re.compile(
    r"[^\x00-\x7f×°±µ]"
    r"|\b(?:kein\w*|nicht|ohne|pas|sans|aucune?|sin|nessun\w*|senza|sem|geen|niet|zonder|bez|brak"
    r"|utan|inte|ingen|ikke|uden)\b"
    r"|\b(?:otherwise|unless)\b"
)
"""Other scripts, denials in other languages, and conditions: texts that the rules cannot read."""
_LIST_NUMBER = re.compile(r"^\d{1,2}[.)] ")
_COLON = re.compile(r":\s*")
_SCOPE_END = re.compile(
    r"[;!]|\.(?!\d)| -+ |\b(?:but|however|nevertheless|although|though|while|whereas)\b"
    r"|\byet(?= (?:no|there|the|an?)\b)"
)
_EXCEPTION = re.compile(
    r"\b(?:with the exception of|except(?:ing)?(?: for)?|(?:apart|aside) from|other than"
    r"|save for)\b"
)
_LOOK = r"an? \w+ (?:pattern|appearance|distribution|shape|contour)\b"
"""What describes a finding and is none: "with a reticular pattern"."""
_JOINT = re.compile(
    rf"([,()/]|\b(?:and|or|versus|vs|with(?! {_LOOK})|plus"
    r"|beside|near|(?:next|adjacent) to)\b"
    r"|(?=\b(?:nor|without|rather than|instead of"
    r"|(?:free|(?:de)?void) (?:of|from)|clear of|negative for|after|following|status post"
    r"|non(?:extend|caus|drain|reach|cross|obscur)\w*)\b))"
)
_EITHER = frozenset({"or", "/", "versus", "vs"})
_COPULA = re.compile(r"\b(?:is|are|was|were|has|have|had|appears?|remains?)\b")
_STATE = re.compile(
    r"\b(?:unchanged|stable|persistent|abnormal|possible|enlarged|widened|displaced|elevated"
    r"|dilated|calcified|tortuous|(?:increas|decreas|improv|worsen)(?:ed|ing))$"
)


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that a sentence states."""

    words: frozenset[str]
    """The words of its subject; with `NORMAL` where it calls a structure normal."""
    particulars: frozenset[str]
    """Sides, places, severities, numbers and course. If opposite sides or levels, or two severities
    occur, all particulars are kept as one ordered string."""
    implied: frozenset[str]
    """Sides that a neighbour in its list names and that may apply to this clause too."""
    polarity: Polarity
    doubted: bool


@dataclass(slots=True)
class _Piece:
    """A stretch of text between two joints of a list; `joint` is the one before it."""

    joint: str
    text: str
    undecided: bool = False

    @property
    def has_cue(self) -> bool:
        """Whether it contains a denial of its own."""
        return CUE.search(self.text) is not None

    @property
    def cue_leads(self) -> bool:
        """Whether its cue precedes what it denies ("no effusion"), and so may reach further."""
        cue = CUE.search(self.text)
        return cue is not None and says_something(self.text[cue.end() :])

    @property
    def lacks_predicate(self) -> bool:
        """Whether it is only a subject: "heart" in "heart and mediastinum are normal"."""
        return not self.has_cue and not _COPULA.search(self.text)

    @property
    def ends_in_predicate(self) -> bool:
        """Whether a predicate follows its subject, and may apply to the list before it."""
        verb = CUE.search(self.text) or _COPULA.search(self.text) or _STATE.search(self.text)
        if verb is None or not words(self.text[: verb.start()]):
            return False
        if verb.re is _COPULA:
            return says_something(self.text[verb.end() :])
        object_denied = verb.lastgroup == "negator" and not _COPULA.search(self.text)
        return not (object_denied and self.cue_leads)


def parse_clauses(text: str) -> tuple[Clause, ...]:
    """Returns the clauses of a normalised sentence (`service.reporting.polarity.normalise`)."""
    text = _LIST_NUMBER.sub("", text)
    if not _UNREADABLE.search(text) and len(text) <= MAX_CHARS:
        scopes = _SCOPE_END.split(_COLON.sub(" is ", text))
        clauses = tuple(clause for scope in scopes for clause in _parse_scope(scope))
        if len(clauses) <= MAX_CLAUSES:
            return clauses
    return (_clause(text, frozenset(), "unclear", doubted=False),)


def _parse_scope(scope: str) -> Iterator[Clause]:
    """Yields the clauses of the text between two scope ends, which no denial crosses.

    An exception takes back an unknown part of the denial before it. Example: "no nodule other than
    a granuloma" → nodule is unclear, granuloma affirmed.
    """
    rule, *exceptions = _EXCEPTION.split(scope)
    if exceptions and not says_something(rule):
        exceptions[0], _, rule = exceptions[0].partition(",")
    for clause in _parse_list(rule):
        excepted = exceptions and clause.polarity == "denied"
        yield replace(clause, polarity="unclear") if excepted else clause
    for exception in exceptions:
        yield from _parse_list(exception)


def _parse_list(scope: str) -> Iterator[Clause]:
    """Yields the clauses of a text without exceptions."""
    pieces = _split_list(scope)
    _share_last_predicate(pieces)
    doubted = DOUBT.search(scope) is not None
    either = any(piece.joint == "or" for piece in pieces)
    polarities = _carry_denials_forward(pieces)
    for piece, sides, denial in zip(pieces, _implied_sides(pieces), polarities, strict=True):
        doubt = doubted or (either and denial == "affirmed")
        yield _clause(piece.text, sides, denial, doubted=doubt)


def _split_list(scope: str) -> list[_Piece]:
    """Splits at the joints; a stretch without a word of its own joins a neighbour.

    Example: "no effusion, or left nodule" → "no effusion" and, joined by `or`, "left nodule".
    """
    first, *others = _JOINT.split(scope)
    pieces: list[_Piece] = []
    joints, lead = set[str](), ""
    for joint, text in [("", first), *zip(others[::2], others[1::2], strict=True)]:
        joints.add(joint)
        if words(text) - {NORMAL}:
            pieces.append(_Piece(_strongest_joint(joints), f"{lead} {text}".strip()))
            joints, lead = set(), ""
        elif pieces and says_something(text):
            pieces[-1].text += f" {text.strip()}"
            joints = set()
        else:
            lead = f"{lead} {text}"
    return pieces or [_Piece("", lead)] * says_something(lead)


def _strongest_joint(joints: set[str]) -> str:
    """Returns one joint for a run of them: `or` for ", or"."""
    if joints & _EITHER:
        return "or"
    if joints & {"and", "with", "plus"}:
        return "and"
    return "," if joints & set(",()") else ""


def _share_last_predicate(pieces: Sequence[_Piece]) -> None:
    """Applies the predicate that ends a list to the subjects before it.

    A denial applies where no side or severity makes a subject a finding of its own; any other
    predicate leaves the subjects undecided.

    * "heart and mediastinum are normal" → heart and mediastinum are both normal.
    * "large left effusion and lungs clear" → the lungs are clear; the effusion is undecided.
    * "heart and mediastinum are enlarged" → the mediastinum is enlarged; the heart is undecided.
    """
    for place, piece in enumerate(pieces):
        if piece.joint not in ("and", "or") or not piece.ends_in_predicate:
            continue
        cue = CUE.search(piece.text)
        before = pieces[:place]
        subjects = list(takewhile(lambda subject: subject.lacks_predicate, reversed(before)))
        governed = any(other.cue_leads for other in before[-len(subjects) - 1 : -len(subjects)])
        shared = not piece.cue_leads and not governed
        for subject in subjects:
            if cue and shared and not particulars(subject.text):
                subject.text += f" {cue.group()}"
            else:
                subject.undecided = True


def _carry_denials_forward(pieces: Sequence[_Piece]) -> Iterator[Polarity]:
    """Yields the polarity of each piece: its own, or that of the denial that reaches it.

    * "no effusion or nodule" → denied, denied: `or` carries the denial.
    * "no effusion and edema" → denied, unclear: `and` may begin something new.
    * "no effusion, heart is enlarged" → denied, affirmed: a predicate of its own ends the reach.
    """
    reaching: Polarity = "affirmed"
    for place, piece in enumerate(pieces):
        if piece.has_cue:
            doubly = reaching == "denied" and piece.joint == "or"
            own = "unclear" if doubly else polarity_of_normalised(piece.text)
            reaching = own if piece.cue_leads else "affirmed"
        elif piece.joint != "or" and piece.ends_in_predicate:
            own = reaching = "affirmed"
        elif reaching == "denied" and _next_conjunction(pieces[place:]) != "or":
            own = reaching = "unclear"
        else:
            own = reaching
        yield "unclear" if piece.undecided else own


def _next_conjunction(pieces: Sequence[_Piece]) -> str:
    """Returns the joint that ends a list of commas: `or` in "a, b, or c"."""
    return next((piece.joint for piece in pieces if piece.joint != ","), "")


def _implied_sides(pieces: Sequence[_Piece]) -> Iterator[frozenset[str]]:
    """Yields, for each piece without a side, the sides that its list names.

    A new denial begins a new list. Example: "left effusion and nodule" → none, {left}.
    """
    lists: list[list[_Piece]] = []
    for piece in pieces:
        if not lists or (piece.has_cue and piece.joint):
            lists.append([])
        lists[-1].append(piece)
    for members in lists:
        named = [SIDES.intersection(TOKEN.findall(piece.text)) for piece in members]
        for sides in named:
            yield frozenset() if sides else frozenset().union(*named)


def _clause(text: str, implied: frozenset[str], denial: Polarity, *, doubted: bool) -> Clause:
    about = words(text)
    known = denial if about - {NORMAL} else "unclear"
    return Clause(about, particulars(text), implied, known, doubted)
