"""What is released: one version, one licence, types for those who import it."""

import re
import tomllib
from importlib.metadata import version

import pytest

from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RELEASED = (
    "pyproject.toml", "CITATION.cff", "README.md", "Makefile", "docker-compose.yml", "deploy/*",
    "docs/**/*.md", "service/**/*.py", "training/**/*.py", "tests/**/*.py", "tests/contract/*.json",
)  # fmt: skip


def test_the_version_is_written_in_pyproject_alone():
    """An image's tag, a citation and the OpenAPI document do without it."""
    number = re.compile(rf"(?<![\d.=]){re.escape(PROJECT['version'])}(?![\d.])")
    files = {path for pattern in RELEASED for path in ROOT.glob(pattern) if path.is_file()}
    holders = [path for path in files if number.search(path.read_text(encoding="utf-8"))]
    assert holders == [ROOT / "pyproject.toml"]


def test_the_changelog_ends_with_the_first_version_and_begins_with_what_is_unreleased():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([^\]]+)\]", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert PROJECT["version"] in headings


def test_the_installed_package_has_the_projects_version():
    assert version("eclip-radiology") == PROJECT["version"]


@pytest.mark.parametrize("package", ["service", "training"])
def test_a_package_declares_that_it_has_types(package):
    assert (ROOT / package / "py.typed").is_file()
