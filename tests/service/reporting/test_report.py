import pytest

from service.errors import RequestMalformed
from service.reporting.report import LONGEST_NOTE, ReportRequest


@pytest.mark.parametrize("name", ["indication", "comparison"])
def test_notes_have_one_bound_on_the_command_line_and_over_http(name):
    ReportRequest(**{name: "x" * LONGEST_NOTE})
    with pytest.raises(RequestMalformed, match=f"{name}: it has {LONGEST_NOTE + 1} characters"):
        ReportRequest(**{name: "x" * (LONGEST_NOTE + 1)})
