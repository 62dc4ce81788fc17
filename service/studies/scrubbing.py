"""Removes from a report what its study's own headers name, so that a stored report names nobody.

Each occurrence becomes `___`, as in published reports. Case, accents and the punctuation within a
name or an id do not matter: `MUELLER`, `Müller` and `Muller` are one name, and `12-345` is `12345`.
Nor do HTML entities, characters that are not shown, and a hyphen at the end of a line.

| what | is removed |
|---|---|
| the parts of a person's name with three letters or more, as whole words | always |
| ids and telephone numbers of four characters or more, and numbers of six digits in them | always |
| institutions, addresses and stations, by the whole phrase between commas | always |
| dates with day, month and a year of four digits, in figures or with the month's name | always |
| dates with a year of two digits, or as `12032026` | if a header has that date |
| UIDs | always |

A patient named Stone or Small loses these words everywhere in the report. Only words that deny
(`not`), particles (`von`), titles (`Doctor`) and placeholders (`anonymous`) stay, because a report
without them says something else, or because they name nobody.
"""

import html
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from service.errors import StudyInvalid
from service.studies.dates import dates_in

MARK = "___"
"""What stands in the place of a name."""
_MOST = 1000
"""Names, ids and phrases that one study may have."""
_LEAST_OF_A_NAME, _LEAST_OF_AN_ID, _LEAST_OF_A_PHRASE = 3, 4, 4
_LONGEST = 256
"""Characters of a name, an id or a phrase that is looked for."""
# fmt: off
_STAY = frozenset((
    "and", "anonymised", "anonymized", "anonymous", "chest", "clinic", "clinical", "de", "del",
    "den", "department", "der", "des", "diagnostic", "doctor", "dos", "etc", "finding",
    "findings", "for", "general", "hospital", "imaging", "impression", "medical", "miss",
    "mister", "mrs", "name", "nil", "non", "none", "nor", "not", "patient", "phantom",
    "physician", "prof", "professor", "radiologist", "radiology", "resident", "room", "sir",
    "staff", "technologist", "test", "the", "unknown", "unspecified", "van", "von", "with",
    "without",
))
# fmt: on
"""Words that are never removed by themselves."""
_LETTER = {"ø": "o", "đ": "d", "ð": "d", "ł": "l", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
"""Letters that Unicode does not divide into a plain letter and an accent."""
_UMLAUTS = frozenset("äöüøÄÖÜØ")
"""Letters that are also written with an `e` after the plain one."""
_NO_SPACES = ("CJK", "HANGUL", "HIRAGANA", "KATAKANA")
"""How Unicode names the letters of scripts that put no spaces between words."""
_UID = re.compile(r"(?<![\d.])(?:[0-2](?:\.\d{1,39}){5,}|2\.25\.\d{10,39})(?!\d)")
_DIGITS = re.compile(r"\d{6,}")
"""A number within an id, which is also looked for alone: `990017` of `MRN-990017`."""
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|[A-Za-z]{2,32});")
_BROKEN = re.compile(r"(?<=[^\W\d_])[-\u2010][ \t\r]{0,8}\n\s{0,16}(?=[^\W\d_])")
"""A hyphen at a line's end, within a word or between two."""
_PHRASES = re.compile(r"[,;\r\n\\]+| [-–—] ")
_RUN = re.compile(r"[^\W_]+")
_GAP = r"[\W_]{0,3}"


@dataclass(frozen=True, slots=True)
class Identity:
    """What the headers of a study name, as they write it.

    people: names of persons (VR PN or plain). ids: ids and telephone numbers. phrases:
    institutions, addresses. dates: of birth, of the study and the like.
    """

    people: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    phrases: frozenset[str] = frozenset()
    dates: frozenset[date] = frozenset()

    def __or__(self, other: "Identity") -> "Identity":
        """Returns what either names."""
        return Identity(
            self.people | other.people,
            self.ids | other.ids,
            self.phrases | other.phrases,
            self.dates | other.dates,
        )


def scrubbed(text: str, identity: Identity) -> str:
    """Returns the text with `___` for everything that the identity names, as the module says.

    Raises StudyInvalid for more than 1,000 names.
    """
    named = sorted(_patterns(identity), key=lambda each: (-len(each), each))  # as in every process
    spans = list(_found(*_folded(text), named, identity))
    if _BROKEN.search(text):
        spans += _found(*_folded(text, joined=True), named, identity)
    pieces, end = [], 0
    for start, stop in sorted(spans):
        if stop > end:
            pieces += [text[end:start], MARK] if start >= end else []
            end = stop
    return "".join([*pieces, text[end:]])


def _found(
    plain: str, places: list[int], named: list[str], identity: Identity
) -> Iterator[tuple[int, int]]:
    """Yields where the text, of which this is the folded form, names what the identity names."""
    spans = [match.span() for match in _UID.finditer(plain)]
    spans += dates_in(plain, identity.dates)
    if named:
        spans += (match.span() for match in re.finditer("|".join(named), plain))
    yield from ((places[start], places[stop]) for start, stop in spans)


def _patterns(identity: Identity) -> set[str]:
    words = {part for name in identity.people for part in _parts(name)}
    found = {_word(part) for part in words if part.casefold() not in _STAY}
    ids = {*identity.ids, *(run for each in identity.ids for run in _DIGITS.findall(each))}
    ids |= {day.strftime(form) for day in identity.dates for form in ("%d%m%Y", "%m%d%Y")}
    found |= {_loose(each) for each in ids if _size(each) >= _LEAST_OF_AN_ID}
    pieces = {piece for phrase in identity.phrases for piece in _PHRASES.split(phrase)}
    found |= {
        _loose(piece)
        for piece in pieces | identity.phrases
        if _size(piece) >= _LEAST_OF_A_PHRASE and not _is_plain(piece)
    }
    if len(found) > _MOST:
        raise StudyInvalid(
            "The headers of this study name too many people and places to remove them from its "
            "report. Correct them, or put a text file beside the images."
        )
    return found


def _parts(name: str) -> Iterator[str]:
    """Yields the words of a name, without prefix and suffix, and what is written as one word.

    Family and given name are also looked for together, which finds a name of two letters too, and
    so is a component with its particles, as in `Delacruz`.
    """
    for group in name[:_LONGEST].split("="):
        components = [component.strip() for component in group.split("^")[:3]]
        if _has_no_spaces(group):
            yield from ("".join(components), "".join(reversed(components)))
        for component in components:
            yield from (word for word in component.split() if _is_long_enough(word))
            yield from (run for run in _RUN.findall(component) if _is_long_enough(run))


def _is_long_enough(word: str) -> bool:
    least = 2 if _has_no_spaces(word) else _LEAST_OF_A_NAME
    return sum(map(str.isalpha, word)) >= least


def _is_plain(phrase: str) -> bool:
    """Whether a phrase names no place: `Radiology`, `General Hospital`."""
    return all(run.casefold() in _STAY or len(run) < 3 for run in _RUN.findall(phrase))


def _size(text: str) -> int:
    return sum(map(str.isalnum, text))


def _has_no_spaces(text: str) -> bool:
    return any(unicodedata.name(c, "").startswith(_NO_SPACES) for c in text if c.isalpha())


def _word(word: str) -> str:
    """A pattern of a word of a name, with whatever punctuation it has inside."""
    loose = _GAP.join(_spelt(run) for run in _RUN.findall(word))
    return loose if _has_no_spaces(word) else rf"(?<![^\W\d_]){loose}(?![^\W\d_])"


def _loose(text: str) -> str:
    """A pattern of an id or a phrase, whatever punctuation stands between its words."""
    runs = _RUN.findall(text[:_LONGEST])
    loose = _GAP.join(map(_spelt, runs))
    return loose if _has_no_spaces(text) else rf"(?<![^\W_]){loose}(?![^\W_])"


def _spelt(run: str) -> str:
    """A pattern of a run of letters in the spellings that passports and keyboards give it."""
    spelt = "".join(
        re.escape(_fold(c)) + ("e?" if c in _UMLAUTS else "")
        for c in unicodedata.normalize("NFC", run)
    )
    return re.sub(r"([aou])e(?!\?)", r"\1e?", spelt)


def _folded(text: str, *, joined: bool = False) -> tuple[str, list[int]]:
    """Returns text without case and accents, and the place in `text` of each of its characters.

    One more place is that of the end. An HTML entity is the character that it stands for. joined:
    without the hyphens at the ends of lines.
    """
    pieces, places = list[str](), list[int]()
    replaced = {match.start(): (match.end(), html.unescape(match[0])) for match in _entities(text)}
    if joined:
        replaced |= {match.start(): (match.end(), "") for match in _BROKEN.finditer(text)}
    end = 0
    for place, character in enumerate(text):
        if place < end:
            continue
        end, character = replaced.get(place, (place + 1, character))
        plain = "".join(map(_fold, character))
        pieces.append(plain)
        places += [place] * len(plain)
    return "".join(pieces), [*places, len(text)]


def _entities(text: str) -> Iterator[re.Match[str]]:
    """Yields the HTML entities that there are: `&uuml;`, but not `&smith;`."""
    return (match for match in _ENTITY.finditer(text) if html.unescape(match[0]) != match[0])


@lru_cache(maxsize=4096)
def _fold(character: str) -> str:
    divided = unicodedata.normalize("NFKD", character)
    shown = (c for c in divided if not unicodedata.combining(c) and unicodedata.category(c) != "Cf")
    kept = "".join(shown).casefold()
    return "".join(_LETTER.get(c, c) for c in kept)
