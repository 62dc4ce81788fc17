from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.retry_after import MOST_RETRY_S, retry_after_s

DATES = st.from_regex(
    r"[A-Z][a-z]{2}, [0-9]{1,2} [JM]a[nyr] [0-9]{2,6} [0-9:]{1,8} [+-][0-9]{1,30}", fullmatch=True
)


@given(
    st.text() | st.integers().map(str) | st.datetimes().map(format_datetime) | DATES
    | st.floats().map(str)
)  # fmt: skip
def test_any_value_is_a_bounded_number_of_seconds_or_none(value):
    seconds = retry_after_s(value)
    assert seconds is None or 0 <= seconds <= MOST_RETRY_S


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), ("7", 7), ("1.5", 1.5), ("9" * 20, MOST_RETRY_S), ("-1", None), ("soon", None),
     ("", None), ("inf", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)  # fmt: skip
def test_seconds_are_read_and_what_is_none_is_not(value, seconds):
    assert retry_after_s(value) == seconds


def test_a_date_is_read_as_the_time_until_then():
    seconds = retry_after_s(format_datetime(datetime.now(UTC) + timedelta(hours=1)))
    assert seconds is not None
    assert 3500 < seconds <= 3600
