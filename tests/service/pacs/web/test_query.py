"""What is wanted is asked for at the right level, and what an archive lists is compared with it."""

from datetime import date

import pytest

from service.errors import SettingInvalid
from service.pacs.archive import Wanted
from service.pacs.web.query import Query, listed_study


def query(since=None, **where):
    return Query.of(Wanted(where, since))


def item(**values):
    tags = {"ModalitiesInStudy": "00080061", "StudyDate": "00080020", "ViewPosition": "00185101"}
    tags |= {"OperatorsName": "00081070", "SeriesDate": "00080021", "SeriesTime": "00080031"}
    tags |= {"StudyInstanceUID": "0020000D", "StudyDescription": "00081030"}
    return {tags[keyword]: {"Value": values[keyword]} for keyword in values}


def test_each_combination_of_values_is_one_search():
    searches = list(
        query(date(2026, 1, 5), ModalitiesInStudy=["CR", "DX"], PatientSex=["F"]).filters()
    )
    include = [("includefield", "ModalitiesInStudy"), ("includefield", "PatientSex")]
    since = ("StudyDate", "20260105-")
    assert searches == [
        [("ModalitiesInStudy", modality), ("PatientSex", "F"), since, *include]
        for modality in ("CR", "DX")
    ]


def test_without_conditions_there_is_one_search():
    assert list(query().filters()) == [[]]


def test_an_attribute_of_objects_is_no_filter_of_studies():
    asked = query(ViewPosition=["PA"], Modality=["CR"], BodyPartExamined=["CHEST"])
    assert list(asked.filters()) == [[]]
    assert [each.keyword for each in asked.of_objects] == [
        "ViewPosition", "Modality", "BodyPartExamined"
    ]  # fmt: skip


def test_a_date_that_is_asked_for_stays_and_the_earliest_one_is_compared():
    asked = query(date(2026, 3, 1), StudyDate=["20260101-20261231"])
    ((filters),) = asked.filters()
    assert filters.count(("StudyDate", "20260101-20261231")) == 1
    assert not asked.admits(item(StudyDate=["20260228"]))
    assert asked.admits(item(StudyDate=["20260301"]))
    assert asked.admits(item())


@pytest.mark.parametrize("keyword", ["Modalities", "0x00080061", "", "patient name"])
def test_an_unknown_attribute_is_named(keyword):
    named = keyword if keyword == "Modalities" else "names something, which is no keyword"
    with pytest.raises(SettingInvalid, match=named):
        query(**{keyword: ["CR"]})


@pytest.mark.parametrize("keyword", ["ContentSequence", "PixelData"])
def test_an_attribute_without_single_values_is_refused(keyword):
    with pytest.raises(SettingInvalid, match=keyword):
        query(**{keyword: ["1"]})


def test_too_many_combinations_are_refused():
    many = [str(number) for number in range(11)]
    with pytest.raises(SettingInvalid, match="100 values"):
        query(PatientID=many, AccessionNumber=many)


def test_an_archive_that_ignores_a_code_is_not_believed():
    asked = query(ModalitiesInStudy=["CR", "D?"])
    assert asked.admits(item(ModalitiesInStudy=["SR", "dx"]))
    assert not asked.admits(item(ModalitiesInStudy=["CT"]))
    assert asked.admits(item(StudyDate=["20260101"]))


def test_characters_that_a_url_encodes_are_asked_for_by_a_wildcard_and_compared():
    asked = query(StudyDescription=["Thorax p.a."])
    assert next(asked.filters())[0] == ("StudyDescription", "Thorax?p.a.")
    assert asked.admits(item(StudyDescription=["THORAX P.A."]))
    assert not asked.admits(item(StudyDescription=["Thorax-p.a."]))
    assert asked.admits(item())


def test_an_archive_compares_descriptions_by_its_own_rules():
    assert query(StudyDescription=["thorax"]).admits(item(StudyDescription=["Thórax"]))


@pytest.mark.parametrize(
    ("keyword", "accepted", "shown", "meets"),
    [
        ("ViewPosition", "PA", ["PA"], True),
        ("ViewPosition", "pa", ["LL", "PA "], True),
        ("ViewPosition", "P*", ["PA"], True),
        ("ViewPosition", "P", ["PA"], False),
        ("ViewPosition", "P?", ["[PA]"], False),
        ("ViewPosition", "[P]A", ["PA"], False),
        ("ViewPosition", "*", [], False),
        ("ViewPosition", "PA", [None, {}, 3], False),
        ("OperatorsName", "Doe^J*", [{"Alphabetic": "Doe^Jane"}], True),
        ("OperatorsName", "Doe", [{"Ideographic": "Doe"}], False),
        ("SeriesDate", "20260101-20260131", ["20260131"], True),
        ("SeriesDate", "20260101-20260131", ["20260201"], False),
        ("SeriesDate", "20260101-", ["20991231"], True),
        ("SeriesDate", "-20260131", ["20260201"], False),
        ("SeriesTime", "08-09", ["093000"], True),
        ("SeriesTime", "08-09", ["100000"], False),
    ],
)
def test_an_objects_value_meets_what_is_wanted(keyword, accepted, shown, meets):
    (condition,) = query(**{keyword: [accepted]}).of_objects
    assert condition.is_met_by(item(**{keyword: shown})) is meets


@pytest.mark.parametrize("uid", ["", "..", "../x", "1.2/3", "1.2?x", "x" * 65, 3, None])
def test_a_study_needs_a_uid_that_can_be_part_of_an_address(uid):
    assert listed_study(item(StudyInstanceUID=[uid])) is None


@pytest.mark.parametrize("shown", [[], ["2026"], ["20269999"], [20260101], [None]])
def test_a_study_without_a_readable_date_is_listed(shown):
    study = listed_study(item(StudyInstanceUID=["1.2.3 "], StudyDate=shown))
    assert (study.study_uid, study.study_date) == ("1.2.3", None)


@pytest.mark.parametrize("odd", [None, [], "text", {"Value": None}, {"Value": "1.2"}, {}])
def test_a_malformed_attribute_counts_as_missing(odd):
    assert listed_study({"0020000D": odd}) is None
