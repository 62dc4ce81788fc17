"""Words the queries for studies and their objects, and reads and filters the answers again."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from service.errors import SettingInvalid
from service.pacs.archive import Instance, ListedStudy, Wanted
from service.pacs.matching import matches, values_of
from service.pacs.node.link import TooManyMatches
from service.studies.dates import date_of

_FIRST_DAY = date(1895, 1, 1)
"""Begin of the first range of dates, where a list of all studies is too long."""
_UID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
"""A UID that is asked for. Old archives have some with letters."""
_STUDY_KEYS = frozenset(
    {
        "StudyDate", "StudyTime", "AccessionNumber", "PatientName", "PatientID",
        "StudyID", "StudyInstanceUID", "ModalitiesInStudy", "SOPClassesInStudy",
        "ReferringPhysicianName", "StudyDescription", "PatientBirthDate", "PatientSex",
        "PatientAge", "IssuerOfPatientID",
    }
)  # fmt: skip
"""Attributes that a query for studies may have."""
_SERIES_KEYS = frozenset(
    {
        "Modality", "SeriesNumber", "SeriesInstanceUID", "SeriesDescription", "SeriesDate",
        "SeriesTime", "BodyPartExamined", "ProtocolName", "StationName", "InstitutionName",
        "Manufacturer", "Laterality", "PerformedProcedureStepStartDate", "PerformingPhysicianName",
        "OperatorsName",
    }
)  # fmt: skip
"""Attributes that a query for series may have. All others are those of objects."""
_LOWER = {"ModalitiesInStudy": "Modality", "SOPClassesInStudy": "SOPClassUID"}
"""Attribute of a study → that of its series or objects, which says the same."""
_KEYS = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
"""Level of a query → its unique key."""
Ask = Callable[[Dataset], list[Dataset]]
"""Sends a query, and returns the answers."""


def study_queries(wanted: Wanted) -> Iterator[dict[str, str]]:
    """Yields the keys of each query for studies: a node honours one value a key.

    One attribute with several values gets a query for each; further ones are left to `meets`.
    Raises SettingInvalid for a keyword that DICOM does not have.
    """
    for keyword in wanted.where:
        if tag_for_keyword(keyword) is None:
            raise SettingInvalid(
                "--where names an attribute that DICOM does not have. Write its keyword, such as "
                "ModalitiesInStudy or BodyPartExamined."
            )
    keys = {keyword: values for keyword, values in wanted.where.items() if keyword in _STUDY_KEYS}
    sent = {keyword: values[0] if len(values) == 1 else "" for keyword, values in keys.items()}
    several = [keyword for keyword, values in keys.items() if len(values) > 1]
    if not several:
        yield sent
    for keyword in several[:1]:
        for value in keys[keyword]:
            yield {**sent, keyword: value}


def answers_by_date(
    ask: Ask, keys: Mapping[str, str], since: date | None, until: date | None = None
) -> list[Dataset]:
    """Returns the studies of these keys and days, asking for fewer days where they are too many.

    A study without a date is not found then. Raises TooManyMatches where one day has too many.
    """
    days = f"{since:%Y%m%d}-" if since else ""
    days = f"{days or '-'}{until:%Y%m%d}" if until else days
    asked = {"ModalitiesInStudy": "", "StudyDate": days, **keys}
    try:
        return ask(_query("STUDY", asked))
    except TooManyMatches:
        first = since or _FIRST_DAY
        last = until or max(first, date.today() + timedelta(days=1))
        if keys.get("StudyDate") or first >= last:
            raise
        middle = first + (last - first) // 2
        return [
            *answers_by_date(ask, keys, first, middle),
            *answers_by_date(ask, keys, middle + timedelta(days=1), last),
        ]


def listed_study(answer: Dataset) -> ListedStudy | None:
    """Returns the study of an answer; None where it names none."""
    uid = str(answer.get("StudyInstanceUID", ""))
    return ListedStudy(uid, date_of(str(answer.get("StudyDate")))) if _UID.fullmatch(uid) else None


def meets(ask: Ask, answer: Dataset, wanted: Wanted) -> bool:
    """Tells whether a study has what is wanted, by its answer and those of its series and objects.

    A node leaves an attribute empty that it does not know at a level: the next one is asked then.
    """
    study = listed_study(answer)
    if study is None or (wanted.since and not (study.study_date or date.min) >= wanted.since):
        return False
    left = dict(wanted.where)
    for level in _KEYS:
        asked = {each: _name(each, level) for each in left if _may_have(level, each)}
        if not asked:
            continue
        answers = [answer] if level == "STUDY" else _below(ask, level, study, asked.values())
        for keyword, name in asked.items():
            found = [value for each in answers for value in values_of(each, name)]
            if found and not matches(keyword, left.pop(keyword), found):
                return False
    return not left


def instances_of(ask: Ask, study: ListedStudy) -> list[Instance]:
    """Returns the objects of a study, series by series."""
    series = _series(ask, study, ["Modality"])
    return [
        Instance(
            str(each.SeriesInstanceUID),
            str(image.SOPInstanceUID),
            _class(image),
            next(iter(values_of(each, "Modality")), ""),
        )
        for each in series
        for image in _images(ask, study, each, ["SOPClassUID"])
    ]


def retrieval(study: ListedStudy, instance: Instance) -> Dataset:
    """Returns what names one object in a C-GET or C-MOVE."""
    return _query(
        "IMAGE",
        {
            "StudyInstanceUID": study.study_uid,
            "SeriesInstanceUID": instance.series_uid,
            "SOPInstanceUID": instance.instance_uid,
        },
    )


def study_query(study_uid: str) -> Dataset:
    """Returns the query for one study."""
    return _query("STUDY", {"StudyInstanceUID": study_uid})


def _class(image: Dataset) -> str:
    uid = str(image.get("SOPClassUID") or "")
    return uid if _UID.fullmatch(uid) else ""


def _may_have(level: str, keyword: str) -> bool:
    if level == "STUDY":
        return keyword in _STUDY_KEYS
    return level == "IMAGE" or keyword in _STUDY_KEYS | _SERIES_KEYS


def _name(keyword: str, level: str) -> str:
    return keyword if level == "STUDY" else _LOWER.get(keyword, keyword)


def _below(ask: Ask, level: str, study: ListedStudy, keywords: Iterable[str]) -> list[Dataset]:
    """Returns the series of a study, or all its objects, with these attributes."""
    if level == "SERIES":
        return _series(ask, study, keywords)
    return [
        image for each in _series(ask, study, []) for image in _images(ask, study, each, keywords)
    ]


def _series(ask: Ask, study: ListedStudy, keywords: Iterable[str]) -> list[Dataset]:
    keys = dict.fromkeys(keywords, "") | {"StudyInstanceUID": study.study_uid}
    return _named(ask(_query("SERIES", keys)), "SERIES", keys)


def _images(
    ask: Ask, study: ListedStudy, series: Dataset, keywords: Iterable[str]
) -> list[Dataset]:
    keys = dict.fromkeys(keywords, "") | {
        "StudyInstanceUID": study.study_uid,
        "SeriesInstanceUID": str(series.SeriesInstanceUID),
    }
    return _named(ask(_query("IMAGE", keys)), "IMAGE", keys)


def _named(answers: Iterable[Dataset], level: str, keys: Mapping[str, str]) -> list[Dataset]:
    """Returns the answers that name their series or object, each once, and are below these keys."""
    above = [each for each in _KEYS.values() if keys.get(each)]
    named = dict[str, Dataset]()
    for answer in answers:
        uid = str(answer.get(_KEYS[level]) or "")
        strays = any(str(answer.get(each) or keys[each]) != keys[each] for each in above)
        if _UID.fullmatch(uid) and not strays:
            named.setdefault(uid, answer)
    return list(named.values())


def _query(level: str, keys: Mapping[str, str]) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    if not all(value.isascii() for value in keys.values()):
        query.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in {_KEYS[level]: "", **keys}.items():
        try:
            value.encode()
            vr = dictionary_VR(keyword)
            query.add(DataElement(keyword, vr, value or None, validation_mode=IGNORE))
        except (ValueError, TypeError, ArithmeticError):
            raise SettingInvalid(
                "--where gives an attribute a value that it cannot have in DICOM."
            ) from None
    return query
