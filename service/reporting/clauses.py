"""A sentence of a report as clauses, each with what it states and whether it affirms or denies it.

A denial reaches as in NegEx (`service.reporting.polarity`): from its cue over what follows it, or
over what stands before it ("is absent", "has resolved"), to the end of the scope. Of a list, only
what `or` joins is surely denied with its first member. Where grammar leaves open what a cue
belongs to, and in a language that the rules do not know, a clause is `unclear`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from service.reporting.polarity import CUE, Polarity, polarity

LONGEST, MOST_CLAUSES = 1000, 24
"""In characters; what is longer is no sentence, and is not read."""
NORMAL = "normal"
SIDES = frozenset({"left", "right", "bilateral"})
_OPPOSITES = (frozenset({"left", "right"}), frozenset({"upper", "lower"}))
SEVERITY = re.compile(
    r"\b(?:trace|tiny|small|medium|large|massive"
    r"|(?:minimal|slight|mild|moderate|marked|severe)(?:ly)?)\b"
)
_PARTICULAR = re.compile(
    rf"\d.*|{'|'.join(sorted(SIDES))}|{SEVERITY.pattern}"
    r"|upper|lower|mid|middle|apical|apex|apices|basal|basilar|bases?|anterior|posterior|above|below"
    r"|new|old|acute|chronic|stable|unchanged|persistent|(?:increas|decreas|improv)(?:ed|ing)"
    r"|worse|worsen(?:ed|ing)|resolving|larger|smaller|enlarging|abnormal|change"
)
_PLACES = frozenset({"base", "bases", "apex", "apices"})
"""Particulars that a clause may be about: "The left base is clear"."""
_TOKEN = re.compile(r"\d+(?:\.\d+)?(?: ?(?:cm|mm)\b)?|[^\W\d_]+")
_PLURAL = re.compile(r"(?<=[a-z]{3})(?<![siu])s$")
_PLURAL_Y = re.compile(r"(?<=[a-z]{3})ies$")
_LUNG = frozenset({"zone", "lobe", "field"})
_FILLER = frozenset({
    "a", "again", "also", "an", "and", "any", "appear", "appears", "are", "at", "be", "been",
    "both", "by", "can", "could", "did", "do", "does", "evidence", "evident", "for", "from", "had",
    "has", "have", "identified", "in", "is", "it", "likely", "may", "might", "noted", "now", "of",
    "on", "or", "possible", "possibly", "present", "probable", "probably", "remain", "remains",
    "seen", "shows", "sided", "sized", "that", "the", "there", "this", "to", "visualized", "was",
    "were", "which", "with",
})  # fmt: skip

_UNREADABLE = re.compile(
    r"[^\x00-\x7f×°±µ]"
    r"|\b(?:kein\w*|nicht|ohne|pas|sans|aucune?|sin|nessun\w*|senza|sem|geen|niet|zonder|bez|brak"
    r"|utan|inte|ingen|ikke|uden)\b"
    r"|\b(?:except\w*|apart from|aside from|other than|otherwise|unless)\b"
)
"""Other scripts, denials in other languages, and exceptions: nothing to build a verdict on."""
_LIST_NUMBER = re.compile(r"^\d{1,2}[.)] ")
_SCOPE_END = re.compile(
    r"[;!]|\.(?!\d)| -+ |\b(?:but|however|nevertheless|although|though|while|whereas)\b"
)
_JOINT = re.compile(
    r"([,()/]|\b(?:and|or|versus|vs|with|plus)\b|(?=\b(?:nor|without|rather than|instead of)\b))"
)
_EITHER = frozenset({"or", "/", "versus", "vs"})
_COPULA = re.compile(r"\b(?:is|are|was|were|has|have|had|appears?|remains?)\b")
_STATE = re.compile(
    r"\b(?:unchanged|stable|persistent|abnormal|possible|enlarged|widened|displaced|elevated"
    r"|dilated|calcified|tortuous|(?:increas|decreas|improv|worsen)(?:ed|ing))$"
)
_DOUBT = re.compile(
    r"\b(?:may|might|could|possibl[ey]|probabl[ey]|likely|suspected|questionable|question)\b|\?"
)


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that a sentence states."""

    words: frozenset[str]
    """What it is about; with `normal` where a structure is called so."""
    particulars: frozenset[str]
    """Sides, places, severities, numbers and course; beside opposites, or another severity, all
    are one, in order."""
    implied: frozenset[str]
    """Sides that a neighbour in its list names, and that may be meant of this clause too."""
    polarity: Polarity
    doubted: bool


@dataclass(slots=True)
class _Piece:
    """A stretch between two joints; `joint` is what stands before it."""

    joint: str
    text: str
    undecided: bool = False

    @property
    def cued(self) -> bool:
        """Whether it says itself that it denies."""
        return CUE.search(self.text) is not None

    @property
    def leads(self) -> bool:
        """Whether its cue stands before what it denies, and so may reach further."""
        cue = CUE.search(self.text)
        return cue is not None and _tells(self.text[cue.end() :])

    @property
    def bare(self) -> bool:
        """Whether it has no predicate of its own."""
        return not self.cued and not _COPULA.search(self.text)

    @property
    def predicates(self) -> bool:
        """Whether its subject is followed by a predicate, which may be meant of a list before."""
        verb = CUE.search(self.text) or _COPULA.search(self.text) or _STATE.search(self.text)
        if verb is None or not _words(self.text[: verb.start()]):
            return False
        if verb.re is _COPULA:
            return _tells(self.text[verb.end() :])
        object_denied = verb.lastgroup == "negator" and not _COPULA.search(self.text)
        return not (object_denied and self.leads)


def read(text: str) -> tuple[Clause, ...]:
    """The clauses of a sentence in plain words (`service.reporting.polarity.plain`)."""
    text = _LIST_NUMBER.sub("", text)
    if not _UNREADABLE.search(text) and len(text) <= LONGEST:
        parts = _SCOPE_END.split(text.replace(":", " is "))
        clauses = tuple(clause for part in parts for clause in _read_part(part))
        if len(clauses) <= MOST_CLAUSES:
            return clauses
    return (_clause(text, frozenset(), "unclear", doubted=False),)


def _read_part(part: str) -> Iterator[Clause]:
    """The clauses of what stands between two scope ends."""
    pieces = _pieces(part)
    _reach_back(pieces)
    doubted = _DOUBT.search(part) is not None
    either = any(piece.joint == "or" for piece in pieces)
    for piece, sides, denial in zip(pieces, _implied(pieces), _reach_on(pieces), strict=True):
        doubt = doubted or (either and denial == "affirmed")
        yield _clause(piece.text, sides, denial, doubted=doubt)


def _pieces(part: str) -> list[_Piece]:
    """Split at the joints; what has no word of its own belongs to the piece before it, or after."""
    first, *rest = _JOINT.split(part)
    pieces: list[_Piece] = []
    joints, lead = set[str](), ""
    for joint, text in [("", first), *zip(rest[::2], rest[1::2], strict=True)]:
        joints.add(joint)
        if _words(text) - {NORMAL}:
            pieces.append(_Piece(_kind(joints), f"{lead} {text}".strip()))
            joints, lead = set(), ""
        elif pieces and _tells(text):
            pieces[-1].text += f" {text.strip()}"
            joints = set()
        else:
            lead = f"{lead} {text}"
    return pieces or [_Piece("", lead)] * _tells(lead)


def _kind(joints: set[str]) -> str:
    """One joint for a run of them, such as `, and`."""
    if joints & _EITHER:
        return "or"
    if joints & {"and", "with", "plus"}:
        return "and"
    return "," if joints & set(",()") else ""


def _reach_back(pieces: Sequence[_Piece]) -> None:
    """A predicate may be meant of a whole list of subjects: "Heart and mediastinum are normal".

    A denial is, where no side or severity makes the subject a finding; the rest is undecided.
    """
    for place, piece in enumerate(pieces):
        if piece.joint not in ("and", "or") or not piece.predicates:
            continue
        cue = CUE.search(piece.text)
        before = pieces[:place]
        subjects = list(takewhile(lambda subject: subject.bare, reversed(before)))
        governed = any(other.leads for other in before[-len(subjects) - 1 : -len(subjects)])
        for subject in subjects:
            if cue and not piece.leads and not governed and not _particulars(subject.text):
                subject.text += f" {cue.group()}"
            else:
                subject.undecided = True


def _reach_on(pieces: Sequence[_Piece]) -> Iterator[Polarity]:
    """The polarity of each piece: its own, or that of the denial which reaches on to it."""
    reaching: Polarity = "affirmed"
    for place, piece in enumerate(pieces):
        if piece.cued:
            doubly = reaching == "denied" and piece.joint == "or"
            own = "unclear" if doubly else polarity(piece.text)
            reaching = own if piece.leads else "affirmed"
        elif piece.joint != "or" and piece.predicates:
            own = reaching = "affirmed"
        elif reaching == "denied" and _closing(pieces[place:]) != "or":
            own = reaching = "unclear"
        else:
            own = reaching
        yield "unclear" if piece.undecided else own


def _closing(pieces: Sequence[_Piece]) -> str:
    """The joint that ends a list of commas."""
    return next((piece.joint for piece in pieces if piece.joint != ","), "")


def _implied(pieces: Sequence[_Piece]) -> Iterator[frozenset[str]]:
    """For a piece without a side: the sides that its list names. A new denial begins a new list."""
    lists: list[list[_Piece]] = []
    for piece in pieces:
        if not lists or (piece.cued and piece.joint):
            lists.append([])
        lists[-1].append(piece)
    for members in lists:
        named = [SIDES.intersection(_TOKEN.findall(piece.text)) for piece in members]
        for sides in named:
            yield frozenset() if sides else frozenset().union(*named)


def _clause(text: str, implied: frozenset[str], denial: Polarity, *, doubted: bool) -> Clause:
    words = _words(text)
    known = denial if words - {NORMAL} else "unclear"
    return Clause(words, _particulars(text), implied, known, doubted)


def _tells(text: str) -> bool:
    """Whether the text adds anything: a word, a particular or a cue."""
    return bool(_words(text) or _particulars(text) or CUE.search(text) or _DOUBT.search(text))


def _words(text: str) -> frozenset[str]:
    tokens = [token for token in _TOKEN.findall(CUE.sub(" ", text)) if token not in _FILLER]
    words = {_singular(t) for t in tokens if t in _PLACES or not _PARTICULAR.fullmatch(t)}
    normal = any(cue.lastgroup == "normal" for cue in CUE.finditer(text))
    return frozenset(words | {NORMAL} if normal else words)


def _singular(word: str) -> str:
    """Without the plural's s; the zones and lobes of a lung are called lung."""
    singular = _PLURAL.sub("", _PLURAL_Y.sub("y", word))
    return "lung" if singular in _LUNG else singular


def _particulars(text: str) -> frozenset[str]:
    tokens = [token.replace(" ", "") for token in _TOKEN.findall(text)]
    found = [token for token in tokens if _PARTICULAR.fullmatch(token)]
    degrees = [token for token in found if SEVERITY.fullmatch(token)]
    ordered = len(degrees) > 1 or any(pair.issubset(found) for pair in _OPPOSITES)
    return frozenset([" ".join(found)] if ordered else found)
