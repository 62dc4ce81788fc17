"""Reads the content tree of a structured report into sections of lines (PS3.3 C.17.3).

| content item | becomes |
|---|---|
| CONTAINER of a heading (`service.studies.concepts`) | a section |
| another CONTAINER | a section of its own words, or within a section a label of its first line |
| words of one sentence in a CONTAINER whose content is CONTINUOUS | one line |
| TEXT | its text; with a label where its concept says more than the section does |
| CODE | what it means, with its modifiers in brackets |
| NUM | its number and unit |
| PNAME, and who observed whom, where and when | nothing: the names are kept apart |
| dates, times, UIDs, images, regions | nothing |
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from service.bundle.report_headings import headings
from service.errors import StudyInvalid
from service.studies.concepts import ADDENDUM, FINDINGS, IMPRESSION, Concept
from service.studies.objects import ObjectReader

_MAX_DEPTH = 24
"""Levels of content items; PS3.16's templates have six."""
_MAX_TEXT = 2**17
"""Characters of a report."""
_LONGEST_NAME = 64
"""Characters of a text that is taken for a name, where its concept is that of one (VR LO, PN)."""
_OBSERVES, _ACQUIRES = "HAS OBS CONTEXT", "HAS ACQ CONTEXT"
_CONTAINS, _MODIFIER = "CONTAINS", "HAS CONCEPT MOD"
_DETAILS = frozenset({_MODIFIER, "HAS PROPERTIES"})
_VALUES = frozenset({"CODE", "NUM"})
_NO_UNIT = frozenset({"", "1"})
_TOO_DEEP = (
    "The content of a structured report has more levels than a report needs. Export it again."
)
_TOO_LONG = (
    f"A structured report has more than {_MAX_TEXT:,} characters. Write a shorter one, or put a "
    "text file beside the images."
)


@dataclass(slots=True)
class Content:
    """What a content tree says. Lines that no heading precedes have the heading ""."""

    sections: dict[str, list[str]] = field(default_factory=dict)
    has_text: bool = False
    """Whether a TEXT item is among the lines."""
    people: list[str] = field(default_factory=list)
    """Names of people, as DICOM or plain text writes them."""
    places: list[str] = field(default_factory=list)
    """Other words that may name somebody: organisations, ids."""

    @property
    def is_report(self) -> bool:
        """Whether it describes or concludes in words."""
        return self.has_text or any(self.sections.get(each) for each in (FINDINGS, IMPRESSION))

    @property
    def text(self) -> str:
        """The report with its headings, as `service.bundle.report_text` reads it."""
        first = "\n".join(self.sections.get("", ()))
        rest = (
            f"{heading}:\n{chr(10).join(lines)}"
            for heading, lines in self.sections.items()
            if heading and lines
        )
        return "\n\n".join(part for part in (first, *rest) if part)


def read_content(reader: ObjectReader) -> Content:
    """Returns the content of the object. Raises StudyInvalid if it is too deep or too long."""
    walk = _Walk(reader)
    walk.below(reader.dataset, "", 1)
    return walk.content


@dataclass(frozen=True, slots=True)
class _Item:
    """A content item: its value type, how it belongs to the item above, and its concept."""

    dataset: Dataset
    kind: str
    relation: str
    concept: Concept

    @property
    def is_apart(self) -> bool:
        """Whether it says who observed whom, where or when."""
        observes = self.relation == _OBSERVES or self.concept.is_context
        return self.kind == "PNAME" or (observes and not self.concept.is_silent)

    @property
    def is_silent(self) -> bool:
        """Whether it says nothing of the image by itself: it qualifies another item."""
        qualifies = self.relation == _MODIFIER and not self.concept.is_procedure
        return qualifies or self.relation == _ACQUIRES or self.concept.is_silent

    @property
    def is_detail(self) -> bool:
        """Whether it says more about the CODE or NUM above."""
        return self.kind in _VALUES and self.relation in _DETAILS and not self.is_apart


class _Walk:
    """Goes through the content items from the root on, in reading order.

    section: the heading that an item stands below.
    """

    def __init__(self, reader: ObjectReader) -> None:
        self._reader, self._left = reader, _MAX_TEXT
        self.content = Content()

    def below(self, dataset: Dataset, section: str, depth: int) -> None:
        """Reads the items below one."""
        for item in self._items(dataset):
            self._item(item, section, depth)

    def _item(self, item: _Item, section: str, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise StudyInvalid(_TOO_DEEP)
        if item.is_apart:
            self._keep_apart(item, depth)
        elif item.is_silent:
            return
        elif item.kind == "CONTAINER":
            self._container(item, section, depth)
        elif item.kind == "TEXT":
            self._text(item, section, depth)
        elif item.kind in _VALUES:
            self._value(item, section, depth)

    def _container(self, item: _Item, section: str, depth: int) -> None:
        label = item.concept.label
        heading = self._heading(item, section)
        if heading is None and not section and label:
            heading = item.concept.own_heading
        below = section if heading is None else heading
        lines = self.content.sections.setdefault(below, [])
        start = len(lines)
        children = self._items(item.dataset)
        words = self._words(item, children)
        if words:
            self._add(below, " ".join(words))
            self.content.has_text = True
        for child in children:
            if not words or child.kind == "CONTAINER":
                self._item(child, below, depth + 1)
        if heading is None and len(lines) > start and label:
            lines[start] = f"{label}: {lines[start]}"

    def _words(self, item: _Item, children: Sequence[_Item]) -> list[str]:
        """The words of a container that is one sentence of texts, codes and numbers; else none.

        Some programs call every container CONTINUOUS, though its texts are sentences.
        """
        items = [child for child in children if child.kind != "CONTAINER"]
        if (
            self._reader.text(item.dataset, "ContinuityOfContent").upper() != "CONTINUOUS"
            or any(child.relation != _CONTAINS or child.is_apart for child in items)
            or not {"TEXT"} < {item.kind for item in items} <= {"TEXT", *_VALUES}
        ):
            return []
        words = [self._said(child, labelled=False) for child in items]
        return [] if any(word.endswith((".", "!", "?", ":")) for word in words[:-1]) else words

    def _text(self, item: _Item, section: str, depth: int) -> None:
        text = _tidy(self._reader.text(item.dataset, "TextValue"))
        if item.concept.names_somebody and len(text) <= _LONGEST_NAME:
            self.content.people.append(text)
            return
        is_whole = not item.concept.is_known and bool(headings(text))
        heading = None if is_whole else self._heading(item, section)
        below = section if heading is None else heading
        if text:
            label = "" if is_whole or heading is not None else item.concept.label
            self._add(below, f"{label}: {text}" if label else text)
            self.content.has_text = True
        self.below(item.dataset, below, depth + 1)

    def _value(self, item: _Item, section: str, depth: int) -> None:
        heading = self._heading(item, section)
        below = section if heading is None else heading
        children = self._items(item.dataset)
        said = self._said(item, labelled=heading is None)
        details = [self._said(child) for child in children if child.is_detail]
        added = "; ".join(detail for detail in details if detail)
        if said:
            self._add(below, f"{said} ({added})" if added else said)
        for child in children:
            if not child.is_detail:
                self._item(child, below, depth + 1)

    def _heading(self, item: _Item, section: str) -> str | None:
        """The heading that an item has of its own. Below one, only coded headings are others.

        Below an addendum none is: what it finds was added, or corrects what stands elsewhere.
        """
        concept = item.concept
        if section == ADDENDUM:
            return None
        return concept.heading if concept.is_known or not section else None

    def _said(self, item: _Item, *, labelled: bool = True) -> str:
        """What a TEXT, a CODE or a NUM says, on one line; nothing for any other item."""
        read, said = self._reader, ""
        if item.concept.names_somebody:
            return ""
        if item.kind == "TEXT":
            said = _tidy(read.text(item.dataset, "TextValue"))
        elif item.kind == "CODE":
            said = self._concept(item.dataset, "ConceptCodeSequence").meaning
        elif item.kind == "NUM":
            measured = read.first(item.dataset, "MeasuredValueSequence")
            value = "" if measured.get("NumericValue") is None else str(measured.NumericValue)
            unit = self._concept(measured, "MeasurementUnitsCodeSequence")
            said = f"{value} {_unit(unit)}" if value else ""
        said = " ".join(said.split())
        label = item.concept.label if labelled else ""
        return f"{label}: {said}" if said and label else said

    def _keep_apart(self, item: _Item, depth: int) -> None:
        """Notes whom an item and those below it name."""
        if depth > _MAX_DEPTH:
            raise StudyInvalid(_TOO_DEEP)
        self.content.people += self._reader.texts(item.dataset, "PersonName")
        if item.kind == "TEXT":
            self.content.places += self._reader.texts(item.dataset, "TextValue")
        for child in self._items(item.dataset):
            self._keep_apart(child, depth + 1)

    def _add(self, section: str, text: str) -> None:
        self._left -= len(text)
        if self._left < 0:
            raise StudyInvalid(_TOO_LONG)
        ended = text if text[-1] in ".!?:。！？：．" else f"{text}."
        self.content.sections.setdefault(section, []).append(ended)

    def _items(self, dataset: Dataset) -> list[_Item]:
        found = self._reader.items(dataset, "ContentSequence")
        return [
            _Item(
                item,
                self._reader.text(item, "ValueType").upper(),
                self._reader.text(item, "RelationshipType").upper(),
                self._concept(item, "ConceptNameCodeSequence"),
            )
            for item in found
        ]

    def _concept(self, dataset: Dataset, keyword: str) -> Concept:
        code, text = self._reader.first(dataset, keyword), self._reader.text
        value = text(code, "CodeValue") or text(code, "LongCodeValue")
        return Concept(
            text(code, "CodingSchemeDesignator").upper(), value, text(code, "CodeMeaning")
        )


def _tidy(text: str) -> str:
    """The text with plain line ends and without other control characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
    return "".join(c for c in text if c.isprintable() or c in "\n\t\xa0").strip()


def _unit(unit: Concept) -> str:
    """The unit as a report writes it: `mm`, or its meaning where its code is none to read."""
    if unit.value in _NO_UNIT or unit.value.startswith("{"):
        return ""
    return unit.value if unit.scheme == "UCUM" else unit.meaning
