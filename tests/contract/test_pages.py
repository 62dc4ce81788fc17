"""The generated pages show what the code has: `make pages` writes them."""

import pytest

from service.settings import Settings
from tests.contract import errors_page, settings_page


@pytest.mark.parametrize("page", [settings_page, errors_page])
def test_a_generated_page_is_up_to_date(page):
    assert page.document() == page.PAGE.read_text(encoding="utf-8")


def test_every_setting_has_a_meaning():
    fields = Settings.model_fields
    assert [name for name, field in fields.items() if not field.description] == []
