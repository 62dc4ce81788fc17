"""Says which studies are wanted in DICOMweb's terms, and decides whether a listed one is.

Attributes of the patient and the study are asked for at the level of studies. All others belong to
a study's objects, and are compared here: at the level of studies, archives show one object's value
and compare with another's, and many ignore a filter that they do not know.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import product
from math import prod
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from service.errors import SettingInvalid
from service.pacs.archive import ListedStudy, Wanted
from service.pacs.matching import matches
from service.pacs.web.reply import text, values
from service.studies.dates import date_of

STUDY_UID, STUDY_DATE = "0020000D", "00080020"
_OF_STUDIES = frozenset(
    {
        "StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "ReferringPhysicianName",
        "StudyDescription", "StudyInstanceUID", "StudyID", "PatientName", "PatientID",
        "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge",
    }
)  # fmt: skip
"""Attributes of a patient or a study (PS3.18 10.6.1.2.3, PS3.4 C.6.2.1)."""
_MOST_QUERIES = 100
"""Queries into which the accepted values of several attributes of studies may multiply."""
_USABLE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
"""UIDs that can be part of an address. Old archives have some with letters."""
_ENCODED = re.compile(r"[^A-Za-z0-9._~*?,:/@!$'()-]")
"""Characters that a URL must percent-encode (RFC 3986 3.4). Orthanc's plugin 1.7 decodes none: it
finds nothing for "Thorax pa". So `?`, which matches any character, is asked for instead."""
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")


def usable_uid(item: Mapping[str, Any], tag: str) -> str | None:
    """Returns a UID of a listed item; None if it is missing or cannot be part of an address."""
    uid = text(item, tag)
    return uid if _USABLE.fullmatch(uid) else None


@dataclass(frozen=True, slots=True)
class Condition:
    """Accepted values of one attribute. tag: eight hexadecimal digits. vr: its representation."""

    keyword: str
    tag: str
    vr: str
    accepted: Sequence[str]

    @property
    def asked(self) -> list[str]:
        """The values as an archive is asked for them."""
        return [_ENCODED.sub("?", value) for value in self.accepted]

    @property
    def is_compared(self) -> bool:
        """Whether a study must be compared with it here."""
        return self.vr == "CS" or self.asked != list(self.accepted)

    def is_met_by(self, item: Mapping[str, Any]) -> bool:
        """Decides whether one of the item's values is accepted, as `matches` does."""
        found = [_plain(value) for value in values(item, self.tag)]
        return matches(self.keyword, self.accepted, found)


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for. of_studies, of_objects: conditions at each level. since: a StudyDate."""

    of_studies: Sequence[Condition]
    of_objects: Sequence[Condition]
    since: date | None

    @classmethod
    def of(cls, wanted: Wanted) -> "Query":
        """Returns the query. Raises SettingInvalid for an attribute that cannot be asked for."""
        conditions = [_condition(keyword, wanted.where[keyword]) for keyword in wanted.where]
        of_studies = [each for each in conditions if each.keyword in _OF_STUDIES]
        of_objects = [each for each in conditions if each.keyword not in _OF_STUDIES]
        if prod(len(each.accepted) for each in of_studies) > _MOST_QUERIES:
            raise SettingInvalid(
                f"--where combines more than {_MOST_QUERIES} values of attributes of studies. "
                "Name fewer, or use * for many."
            )
        return cls(of_studies, of_objects, wanted.since)

    def filters(self) -> Iterator[list[tuple[str, str]]]:
        """Yields the parameters of each search for studies; their results are united.

        An attribute with several values makes several searches: the standard has no list of values
        but for UIDs, and archives differ in what they take for one.
        """
        for chosen in product(*(each.asked for each in self.of_studies)):
            pairs = list(zip((each.keyword for each in self.of_studies), chosen, strict=True))
            if self.since is not None and "StudyDate" not in dict(pairs):
                pairs.append(("StudyDate", f"{self.since:%Y%m%d}-"))
            yield pairs + [("includefield", each.keyword) for each in self.of_studies]

    def admits(self, item: Mapping[str, Any]) -> bool:
        """Decides whether an archive that may have ignored filters listed the study rightly.

        Codes, the date and values that were not asked for literally are compared, where the archive
        shows them. Other names and descriptions it may compare by rules of its own.
        """
        day = study_date(item)
        if self.since is not None and day is not None and day < self.since:
            return False
        shown = [each for each in self.of_studies if values(item, each.tag)]
        return all(each.is_met_by(item) or not each.is_compared for each in shown)


def listed_study(item: Mapping[str, Any]) -> ListedStudy | None:
    """Returns the study of a listed item; None if its UID cannot be used."""
    uid = usable_uid(item, STUDY_UID)
    return None if uid is None else ListedStudy(uid, study_date(item))


def study_date(item: Mapping[str, Any]) -> date | None:
    """Returns the StudyDate of a listed item, or None."""
    return date_of(text(item, STUDY_DATE))


def _plain(value: Any) -> str:
    """Returns a value of DICOM JSON as text. A name is an object of its writings (PS3.18 F.2.2)."""
    written = value.get("Alphabetic", "") if isinstance(value, dict) else value
    return str(written).strip("\0 ")


def _condition(keyword: str, accepted: Sequence[str]) -> Condition:
    is_word = _KEYWORD.fullmatch(keyword) is not None
    tag = tag_for_keyword(keyword) if is_word else None
    if tag is None:
        named = keyword if is_word else "something"
        raise SettingInvalid(
            f"--where names {named}, which is no keyword of a DICOM attribute. Write it as the "
            "standard does, for example ModalitiesInStudy or BodyPartExamined."
        )
    vr = dictionary_VR(tag)
    if vr in ("SQ", "OB", "OW", "UN", "OB or OW"):
        raise SettingInvalid(
            f"--where names {keyword}, which holds no single value. Choose by another attribute."
        )
    return Condition(keyword, f"{tag:08X}", vr, tuple(accepted))
