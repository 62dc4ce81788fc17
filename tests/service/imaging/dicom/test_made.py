"""When a study was made, as a file's header has it."""

from datetime import UTC, datetime

import pytest

from service.imaging.dicom.identifiers import Span, belonging
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")


def made(**elements):
    data = dicom_bytes(dicom_dataset(**elements))
    return belonging(lambda limit: data[:limit]).made


def minute(*when):
    return int(datetime(*when, tzinfo=UTC).timestamp()) // 60


@pytest.mark.parametrize(
    ("time", "first", "last"),
    [
        ("101530.25", (10, 15), (10, 15)),
        ("101530", (10, 15), (10, 15)),
        ("1015", (10, 15), (10, 15)),
        ("10:15:30", (10, 15), (10, 15)),
        ("10", (10, 0), (10, 59)),
        ("", (0, 0), (23, 59)),
        ("noon", (0, 0), (23, 59)),
        ("246000", (0, 0), (23, 59)),
    ],
)
def test_a_date_with_less_than_a_time_spans_what_it_may_mean(time, first, last):
    when = (2026, 3, 4)
    assert made(StudyDate="20260304", StudyTime=time) == Span(
        minute(*when, *first), minute(*when, *last)
    )


def test_of_several_clocks_the_studys_own_comes_first_and_each_keeps_its_time():
    clocks = {"AcquisitionDate": "20260305", "AcquisitionTime": "0900", "SeriesDate": "20260306"}
    nine = minute(2026, 3, 5, 9)
    assert made(**clocks) == Span(nine, nine)
    assert made(**clocks, StudyDate="20260304", StudyTime="08").earliest == minute(2026, 3, 4, 8)
    assert made(**clocks, StudyDate="20261304", StudyTime="08") == Span(nine, nine)
    content = {"ContentDate": "1999.12.31", "ContentTime": "2359"}
    assert made(**content, SeriesDate="20260306").latest == minute(1999, 12, 31, 23, 59)


@pytest.mark.parametrize("date", ["", "2026", "20260230", "00000000", "20260101-20260201"])
def test_without_a_valid_date_nobody_knows(date):
    assert made(StudyDate=date, StudyTime="1015") is None
