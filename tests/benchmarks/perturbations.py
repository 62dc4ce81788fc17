"""Sentences that add or change one thing, and honest rewordings, of given passages.

Each passage, and each word of a list, belongs by its checksum to one of two halves. The rules were
written while looking at the half `design`; figures are reported on the half `report`.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

HALVES = ("design", "report")
MOST = 500
"""Perturbed sentences of a source."""


@dataclass(frozen=True)
class Pair:
    """A statement, a passage, and whether the one follows from the other."""

    kind: str
    statement: str
    passage: str
    follows: bool


ADJECTIVES = (
    "aneurysmal", "asbestotic", "aspirated", "bacterial", "bilateral", "bullous", "carcinoid",
    "caseating", "cavitary", "chylous", "confluent", "congenital", "cystic", "dissecting",
    "embolic", "empyematous", "endobronchial", "eosinophilic", "extensive", "fungal",
    "gangrenous", "granulomatous", "ground-glass", "haemorrhagic", "healing", "herniated",
    "honeycombed", "iatrogenic", "incarcerated", "infected", "ischaemic", "large", "lobulated",
    "loculated", "lymphangitic", "malignant", "metastatic", "miliary", "mycotic", "necrotizing",
    "neoplastic", "nodular", "osteolytic", "partial", "pathologic", "peribronchial",
    "postoperative", "purulent", "radiodense", "recurrent", "reticulonodular", "ruptured",
    "sarcoid", "septic", "several", "severe", "silicotic", "spiculated", "stenotic", "subacute",
    "subpleural", "thrombosed", "traumatic", "two", "undrained", "unresolved", "upper", "viral",
    "widespread", "worsening",
)  # fmt: skip
SURNAMES = (
    "An", "Baker", "Brown", "Cruz", "Doe", "Fields", "Garcia", "Green", "Hill", "Ibrahim",
    "Johnson", "Kowalski", "Lange", "Lee", "Li", "Little", "Long", "Marks", "May", "Moody",
    "Moore", "Müller", "Ng", "Nguyen", "Novak", "O'Neill", "Osei", "Park", "Patel", "Petrov",
    "Santos", "Schmidt", "Silva", "Singh", "Small", "Smith", "Stone", "Suzuki", "Tan", "Walsh",
    "White", "Will", "Woods", "Young",
)  # fmt: skip
DEVICES = (
    "chest tube", "endotracheal tube", "nasogastric tube", "tracheostomy tube", "pacemaker",
    "stent", "defibrillator", "feeding tube", "dialysis catheter", "Swan-Ganz catheter",
    "balloon pump", "central venous catheter", "port", "surgical drain", "valve prosthesis",
    "vagal stimulator",
)  # fmt: skip
DRUGS = (
    "amiodarone", "bleomycin", "methotrexate", "nitrofurantoin", "prednisone", "heparin",
    "cisplatin", "rituximab", "isoniazid", "furosemide",
)  # fmt: skip
FINDINGS = (
    "atelectasis", "cardiomegaly", "consolidation", "fibrosis", "nodule", "pleural effusion",
    "pneumothorax", "pulmonary edema", "granuloma", "mass", "infiltrate", "fracture", "scoliosis",
    "emphysema", "pneumonia", "hernia",
)  # fmt: skip
DATES = ("3 March 2019", "May 7, 2020", "12/05/2021", "2018-11-04", "4 June 2017", "01.09.2016")
DETAILED = (
    "The {device} ends {number} cm above the carina.",
    "A {device} is in place since {date}.",
    "There is a {number} mm nodule in the {side} upper lobe.",
    "The {side} effusion measures {number} cm.",
    "A fracture of the {side} rib is unchanged since {date}.",
    "Dr. {name} was informed of the {side} pneumothorax.",
    "There is fibrosis in the {side} lower lobe after treatment with {drug}.",
    "The {device} was placed by Dr. {name} on {date}.",
)
"""Passages with what phantoms' reports lack."""
SYNONYMS = (
    ("cardiomegaly", "an enlarged heart"), ("cardiac silhouette", "heart"), ("pulmonary", "lung"),
    ("osseous", "bony"), ("pleural effusion", "pleural fluid"),
    ("hyperexpanded", "hyperinflated"), ("within normal limits", "unremarkable"),
    ("unremarkable", "normal(?! limits)"), ("is enlarged", "shows enlargement"),
    ("opacity", "opacification"), ("calcification", "calcified focus"), ("airspace", "air space"),
    ("right lower lobe", "RLL"), ("left lower lobe", "LLL"), ("right upper lobe", "RUL"),
    ("unchanged", "stable"), ("is seen", "is noted"), ("scarring", "scars"), ("zone", "field"),
    ("is present", "is seen"), ("no evidence of", "no sign of"),
    ("osteopenia", "demineralization"), ("tortuous aorta", "tortuosity of the aorta"),
    ("wires", "sutures"), ("thorax", "chest"), ("bronchovascular", "peribronchovascular"),
    ("blunting", "blunted appearance"), ("density", "opacity"),
    ("granuloma", "granulomatous nodule"), ("clear", "free of disease"),
)  # fmt: skip
"""Pairs that radiologists use for the same; not all of them are known to the service."""
_SIDE = {"left": "right", "right": "left"}
_DENIES = re.compile(
    r"\b(?:no|not|without|none|clear|normal|negative|unremarkable|intact|free|or)\b|limits", re.I
)
_SEVERITY = re.compile(r"\b(?:small|large|mild|moderate|severe|minimal)(?:ly)? ", re.I)
_NUMBER = re.compile(r"(?<![\d.,/-])\d+(?:\.\d+)?(?= ?[a-z])")


def of_half(half: str, items: Sequence[str]) -> list[str]:
    """Those of the items that belong to the half."""
    return [item for item in items if HALVES[crc32(item.encode()) % 2] == half]


def detailed(rng: random.Random, half: str, count: int) -> list[str]:
    """Made passages with devices, numbers, dates, names and drugs, from the half's lists."""
    return [
        rng.choice(DETAILED).format(
            device=rng.choice(of_half(half, DEVICES)),
            number=rng.choice((3, 4, 1.5, 7, 12, 2.5)),
            date=rng.choice(DATES),
            side=rng.choice(("left", "right")),
            name=rng.choice(of_half(half, SURNAMES)),
            drug=rng.choice(of_half(half, DRUGS)),
        )
        for _ in range(count)
    ]


def perturbed(passages: Sequence[str], half: str, seed: int) -> Iterator[Pair]:
    """`MOST` perturbed sentences, and each of their passages with its honest rewordings."""
    rng = random.Random(seed)
    mine = rng.sample(of_half(half, passages), len(of_half(half, passages)))
    kinds = list(PERTURBATIONS.items())
    made, used = 0, set[str]()
    for number in range(len(mine) * len(kinds)):
        passage = mine[number % len(mine)]
        kind, perturb = kinds[(number + number // len(mine)) % len(kinds)]
        sentence = perturb(passage, rng, half)
        if sentence is None or made == MOST:
            continue
        made += 1
        yield Pair(kind, sentence, passage, False)
        if passage not in used:
            used.add(passage)
            yield Pair("untouched", passage, passage, True)
            yield from reworded(passage, half)


def inserted_adjective(passage: str, rng: random.Random, half: str) -> str | None:
    """An adjective before a word of weight."""
    new = [word for word in of_half(half, ADJECTIVES) if not alike(word, passage)]
    places = list(re.finditer(r"(?<= )[a-z]{5,}\b|(?<=^)[A-Z][a-z]{4,}\b", passage))
    if not places or not new:
        return None
    place, word = rng.choice(places), rng.choice(new)
    return lead(f"{passage[: place.start()]}{word} {lower(passage[place.start() :])}")


def inserted_surname(passage: str, rng: random.Random, half: str) -> str | None:
    """A name in one of the ways in which models put it."""
    name = rng.choice(of_half(half, SURNAMES))
    bare = passage.rstrip(".")
    if alike(name, passage):
        return None
    return rng.choice(
        (
            f"{name} {lower(bare)}.", f"{bare} in {name}.", f"{bare}, {name}.", f"{bare}; {name}.",
            f"{name}'s {lower(bare)}.", f"Mr. {name}: {lower(bare)}.", f"{bare} ({name}).",
            f"{bare} of {name.lower()}.", f"{bare.upper()}, {name.upper()}.",
        )
    )  # fmt: skip


def swapped_finding(passage: str, rng: random.Random, half: str) -> str | None:
    """Another finding in the place of the only one that the list knows."""
    return swapped(passage, FINDINGS, of_half(half, FINDINGS), rng)


def swapped_device(passage: str, rng: random.Random, half: str) -> str | None:
    """Another device or drug."""
    for names in (DEVICES, DRUGS):
        changed = swapped(passage, names, of_half(half, names), rng)
        if changed:
            return changed
    return None


def swapped(
    passage: str, known: Sequence[str], new: Sequence[str], rng: random.Random
) -> str | None:
    """Another name of the list, if the passage has just one."""
    said = [name for name in known if re.search(rf"\b{name}\b", passage, re.I)]
    others = [name for name in new if not alike(name, passage)]
    if len(said) != 1 or not others:
        return None
    return lead(re.sub(rf"\b{said[0]}\b", rng.choice(others), passage, flags=re.I))


def changed_number(passage: str, rng: random.Random, _: str) -> str | None:
    """Another number, or the same with another unit."""
    numbers = [
        n for n in _NUMBER.finditer(passage) if not re.match(r"\d+[.)] ", passage[n.start() :])
    ]
    if not numbers:
        return None
    number = rng.choice(numbers)
    rest = passage[number.end() :]
    if re.match(r" ?[cm]m\b", rest) and rng.random() < 0.5:
        unit = "mm" if re.match(r" ?cm", rest) else "cm"
        return f"{passage[: number.end()]} {unit}{rest.lstrip()[2:]}"
    return f"{passage[: number.start()]}{float(number[0]) + rng.choice((1, 2, 10)):g}{rest}"


def changed_date(passage: str, rng: random.Random, _: str) -> str | None:
    """Another day, month or year, or day and month in the other order."""
    said = next((date for date in DATES if date in passage), None)
    if said is None:
        return None
    swap = re.sub(r"(\d\d)([/.-])(\d\d)(?=\b)", r"\3\2\1", said, count=1)
    months = {"March": "May", "May": "June", "June": "March"}
    named = re.sub("|".join(months), lambda month: months[month[0]], said)
    choices = {swap, named, re.sub(r"20(\d\d)", r"19\1", said), re.sub(r"\d", "8", said, count=1)}
    return passage.replace(said, rng.choice(sorted(choices - {said})))


def changed_name(passage: str, rng: random.Random, half: str) -> str | None:
    """Another doctor's name."""
    said = re.search(r"Dr\. ([^ ]+)", passage)
    if said is None:
        return None
    others = [name for name in of_half(half, SURNAMES) if name != said[1]]
    return passage.replace(said[1], rng.choice(others))


def swapped_side(passage: str, *_: object) -> str | None:
    """The other side, if the passage has just one."""
    sides = re.findall(r"\b(?:left|right)\b", passage, re.I)
    if len(sides) != 1:
        return None
    return lead(passage.replace(sides[0], _SIDE[sides[0].lower()]))


def flipped(passage: str, *_: object) -> str | None:
    """The denial of an affirmation, or the affirmation of a denial."""
    denial = re.fullmatch(r"(?:There is no|No evidence of|No) ([^,.;:]+?)(?: is seen)?\.", passage)
    if denial:
        return f"There is {denial[1]}."
    said = re.fullmatch(r"There is (?:an? )?([^,]+)\.", passage)
    return f"There is no {said[1]}." if said and not _DENIES.search(passage) else None


Perturb = Callable[[str, random.Random, str], str | None]
PERTURBATIONS: dict[str, Perturb] = {
    "inserted adjective": inserted_adjective,
    "inserted surname": inserted_surname,
    "swapped finding": swapped_finding,
    "swapped device or drug": swapped_device,
    "changed number": changed_number,
    "changed date": changed_date,
    "changed name": changed_name,
    "swapped side": swapped_side,
    "negation flipped": flipped,
}


def reworded(passage: str, half: str) -> Iterator[Pair]:
    """What a writer may honestly make of a passage."""
    for said, other in SYNONYMS:
        if HALVES[crc32(said.encode()) % 2] != half:
            continue
        for one, two in ((said, other), (other, said)):
            if re.search(rf"\b{one}\b", passage, re.I):
                two = two.partition("(")[0]
                changed = lead(re.sub(rf"\b{one}\b", two, passage, count=1, flags=re.I))
                yield Pair("synonym", changed, passage, True)
    if _DENIES.search(passage) or re.search(r"[,;:]|\band\b|\d\.", passage):
        return
    if (shorter := _SEVERITY.sub("", passage, count=1)) != passage:
        yield Pair("shortened", lead(shorter), passage, True)
    there = re.fullmatch(r"(?:There (?:is|are) )(?:an? )?([^.]+)\.", passage)
    seen = re.fullmatch(r"([^.]+?) (?:is|are) (?:seen|noted|present)( [^.]+)?\.", passage)
    if there:
        yield Pair("there is …", lead(f"{there[1]}."), passage, True)
    if seen:
        yield Pair("there is …", f"There is {lower(seen[1])}{seen[2] or ''}.", passage, True)
    placed = re.fullmatch(r"There is (an? )?([^.]+?) in the ([^.]+)\.", passage)
    if placed and " in " not in placed[3]:
        turned = f"In the {placed[3]}, there is {placed[1] or ''}{placed[2]}."
        yield Pair("reordered", turned, passage, True)
        yield Pair("shortened", lead(f"{placed[2]}."), passage, True)


def alike(word: str, passage: str) -> bool:
    """Whether the passage has the word, or one with the same beginning."""
    return any(part[:5].lower() in passage.lower() for part in word.split())


def lower(text: str) -> str:
    """The text with a small first letter."""
    return text[:1].lower() + text[1:]


def lead(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]
