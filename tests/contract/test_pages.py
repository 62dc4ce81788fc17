"""The generated pages show what the code has (`make pages` writes them), and proofs exist."""

import re

import pytest

from service.settings import Settings
from service.telemetry import REGISTRY
from tests.contract import errors_page, settings_page
from tests.support.paths import ROOT


@pytest.mark.parametrize("page", [settings_page, errors_page])
def test_a_generated_page_is_up_to_date(page):
    assert page.document() == page.PAGE.read_text(encoding="utf-8")


def test_every_setting_has_a_meaning():
    fields = Settings.model_fields
    assert [name for name, field in fields.items() if not field.description] == []


def test_every_metric_has_its_place_in_the_table_and_none_has_two():
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`eclip_.*?) \|", page, re.MULTILINE)
    named = [name for cell in cells for name in re.findall(r"eclip_\w+", cell)]
    total = {"counter": "_total"}
    assert sorted(named) == sorted(
        each.name + total.get(each.type, "") for each in REGISTRY.collect()
    )


def test_every_proof_of_the_threat_model_is_there():
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    model = page.partition("## Threat model")[2].partition("| data |")[0]
    proofs = [row.split("|")[4] for row in model.splitlines() if row.startswith("|")][2:]
    assert len(proofs) > 10
    for proof in proofs:
        paths = re.findall(r"`([\w/.]+)`", proof)
        assert paths
        assert all((ROOT / "tests" / path).exists() for path in paths), proof
