"""Lists which words a sentence needs from its passage, and which words anybody may use.

A sentence that follows from a passage has no word of its own. Each word must be

* a word of the passage, in the singular or plural or in another form of the same family
  ("calcified", "calcification"), or another term for it (`service.reporting.synonyms`);
* a word of grammar ("the", "in", "is seen"), which states nothing; or
* a word that the rules for clauses judge ("no", "clear", "possible", "unchanged").

Numbers keep their unit and dates their order: "3 weeks", "12/05/2020" and "T5" are one word each. A
word that is written like a name must be in the passage, whatever it means: "An" in "effusion, An".
What is above or below a thing is so in the passage too, and not "at" it.
"""

import re

GRAMMAR = frozenset({
    "a", "also", "an", "and", "any", "apparent", "appear", "appears", "appreciate", "appreciated",
    "are", "as", "at", "be", "been", "being", "by", "can", "could", "demonstrate", "demonstrated",
    "demonstrates", "detected", "did", "do", "does", "evidence", "evident", "find", "for",
    "found", "from", "had", "has", "have", "identified", "identify", "in", "is", "it", "its",
    "located", "may", "measured", "measures", "measuring", "might", "note", "noted", "of", "on",
    "or", "patient", "possible", "possibly", "present", "radiograph", "radiographic",
    "radiographically", "see", "seen", "show", "shown", "shows", "side", "sided", "sign", "signs",
    "sized", "that", "the", "there", "these", "this", "those", "to", "visible", "visualised",
    "visualized", "was", "we", "were", "which", "with",
})  # fmt: skip
"""Words that state nothing."""
_JUDGED = frozenset({
    "absence", "absent", "but", "cannot", "change", "changed", "changes", "clear", "difference",
    "different", "free", "however", "interval", "lack", "lacks", "limits", "negative", "neither",
    "nil", "no", "none", "nor", "normal", "not", "nothing", "questionable", "significant",
    "unchanged", "unremarkable", "within", "without",
})  # fmt: skip
"""Words that state something, which `service.reporting.clauses` compares."""
_FAMILIES = {
    "apex": "apices apexes",
    "atelectasis": "atelectatic atelectases",
    "basal": "basilar",
    "blunt": "blunts blunted blunting",
    "bronchus": "bronchi",
    "calcified": "calcification calcifications",
    "congestion": "congested",
    "consolidation": "consolidated",
    "deviation": "deviated",
    "dilated": "dilation dilatation",
    "displacement": "displaced",
    "edema": "edematous oedema",
    "elevation": "elevated",
    "emphysema": "emphysematous",
    "esophagus": "oesophagus",
    "fibrosis": "fibrotic",
    "hemorrhage": "haemorrhage",
    "hemothorax": "haemothorax",
    "hilum": "hila hilus",
    "hyperinflation": "hyperinflated hyperexpanded hyperexpansion",
    "kyphosis": "kyphotic",
    "likely": "probable probably suspected",
    "marked": "markedly",
    "mild": "mildly",
    "minimal": "minimally",
    "moderate": "moderately",
    "obscure": "obscures obscured obscuring",
    "opacity": "opacification opacified",
    "pneumothorax": "pneumothoraces",
    "removed": "removal",
    "resolved": "resolution",
    "rotation": "rotated",
    "scar": "scarring scarred",
    "scoliosis": "scoliotic",
    "severe": "severely",
    "sinus": "sinuses",
    "slight": "slightly",
    "thickened": "thickening",
    "tumor": "tumour tumours",
    "vertebra": "vertebrae",
    "widened": "widening",
}
"""Irregular plurals, spellings, and the noun and adjective of one thing."""
_HEAD = {form: head for head, forms in _FAMILIES.items() for form in forms.split()}
_PLURAL = re.compile(r"(?<=[a-z]{3})(?:(?<=ss|sh|ch)es|(?<![siu])s)$")
_PLURAL_Y = re.compile(r"(?<=[a-z]{3})ies$")
_UNITS = (
    r"mm|cm|m|ml|cc|l|mg|g|kg|%|f|fr|french|gauge|degrees?|am|pm"
    r"|(?:second|minute|hour|day|week|month|year)s?"
)
_TERM = re.compile(
    rf"\d+(?:[.,/:-]\d+)*(?:[ -]?(?:{_UNITS})(?![^\W_]))?(?![^\W_])"
    r"|[^\W_]+"
    r"|[^\w\s.,;:()'\"/!?\[\]*-]"
)
"""A number with its unit, a word, or a symbol such as `<` that is no punctuation or Markdown."""
_BEFORE_UNIT = re.compile(r"[ -](?=[a-z%])")
_LIST_NUMBER = re.compile(r"^\s*\d{1,2}[.)] ")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": " ", "”": " ", "…": " ", "–": "-", "—": "-"})
_JOINS = {
    re.compile(r"n't\b"): " not",
    re.compile(r"'s\b"): "",
    re.compile(r"\bnon[ -](?=[a-z])"): "non",
}
_NAME = re.compile(
    r"(?:(?<=[a-z] )|(?<=[,;] )|(?<=\()|(?<=\b[DM]r\. )|(?<=\bMrs\. )|(?<=\bMs\. ))"
    r"[A-Z](?:[a-z]+\b|(?= [a-z]))"
    r"|\b(?:[Aa][Nn]?|[Tt]he|THE)(?=\s*(?:$|[.,;:()])| (?:[Aa][Nn]?|[Tt]he|THE)\b)"
    r"|\b[Aa]n(?= [bcdfgjklpqrtvwz])"
)
"""A word with a capital within a sentence, and an article that no noun may follow."""
_NO_SUBJECT = re.compile(
    r"[\W\d]*(an?|and|are|as|at|been?|by|can|could|did|do|does|find|for|from|had|has|have|in|is"
    r"|may|might|of|on|or|see|show|side|sign|the|to|was|were|with)"
    r"(?=[,;:]|['’]s\b| (?:ha[sd]|is|was)\b)",
    re.IGNORECASE,
)
"""A word of grammar in the place of a sentence's subject: a name, as in "See has an effusion"."""
_PLACED = re.compile(r"\b(above|below)\b(?: (?:the|an?)\b)? ([^\W\d_]+)")
"""What a thing is above or below."""


def fold(word: str) -> str:
    """Returns the word that stands for all forms of a word.

    Examples: "effusions" → "effusion", "calcifications" → "calcified". Forms that tell a course
    stay apart: "enlarging" is not "enlarged", nor "resolving" "resolved".
    """
    if word in _HEAD:
        return _HEAD[word]
    singular = _PLURAL.sub("", _PLURAL_Y.sub("y", word))
    return _HEAD.get(singular, singular)


def compared_terms(text: str, meaning: str) -> tuple[frozenset[str], frozenset[str]]:
    """Returns what a sentence needs, and what it offers to those that follow from it.

    meaning: the normalised text, which offers what its phrases mean: "no change" → "unchanged".
    """
    names = {name.lower() for name in _NAME.findall(text)}
    if first := _NO_SUBJECT.match(text):
        names.add(first[1].lower())
    terms = _terms(text)
    placed = {f"{place} {fold(thing)}" for place, thing in _PLACED.findall(meaning)}
    meant = {*_TERM.findall(meaning)} - terms
    written_as_names = terms & names
    needs = {fold(term) for term in terms - names - GRAMMAR - _JUDGED} - GRAMMAR | written_as_names
    offers = {fold(term) for term in terms | meant} | terms | meant
    at = terms & {"at"}
    beside = set[str]() if placed else {"at"}
    return (
        frozenset(needs | placed | at),
        frozenset(offers - GRAMMAR | written_as_names | placed | at | beside),
    )


def _terms(text: str) -> set[str]:
    text = _LIST_NUMBER.sub("", text.lower().translate(_QUOTES))
    for joint, joined in _JOINS.items():
        text = joint.sub(joined, text)
    return {_BEFORE_UNIT.sub("", term) for term in _TERM.findall(text)}
