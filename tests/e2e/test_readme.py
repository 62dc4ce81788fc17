"""Runs the examples of the documents as written, and compares the answer that the README shows."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.settings import DEMO, Settings
from training.data.phantom import PhantomConfig, phantom


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
FOLDERS = ("deploy", "docs", "service", "tests", "training")
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md")),
]
RUN = re.compile(r"<!-- run -->\n```(sh|python)\n(.*?)```", re.DOTALL)
SHOWN = re.compile(r"<!-- shortened -->\n```json\n(.*?)```", re.DOTALL)
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
EXAMPLES = [
    pytest.param(language, text, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, (language, text) in enumerate(RUN.findall(read(page)))
]
REFUSALS_FAIL = 'curl() { command curl --fail-with-body "$@"; }\n'
"""Makes an example fail where the server refuses a request."""


def run(language: str, text: str, url: str) -> str:
    """Returns what an example prints, run from the repository's root against the test's server."""
    here = text.replace("http://127.0.0.1:8000", url)
    assert here != text
    command = [sys.executable, "-c", here]
    if language == "sh":
        command = ["sh", "-ec", REFUSALS_FAIL + here]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def is_part(shown: Any, real: Any) -> bool:
    """Whether `real` holds every key, and in any place of its lists every item, of `shown`."""
    if isinstance(shown, dict):
        return all(key in real and is_part(value, real[key]) for key, value in shown.items())
    if isinstance(shown, list):
        return all(any(is_part(item, other) for other in real) for item in shown)
    return shown == real


@pytest.mark.slow
@pytest.mark.parametrize(("language", "text"), EXAMPLES)
def test_an_example_of_the_documents_works(server, language, text):
    run(language, text, server.url)


@pytest.mark.slow
def test_the_report_that_the_readme_shows_is_a_part_of_the_real_one(server):
    page = read(README)
    shown = json.loads(SHOWN.search(page)[1])
    real = json.loads(run(*RUN.search(page).groups(), server.url))
    assert is_part(shown, real)
    sentences = [one for section in shown["report"].values() for one in section]
    cited = {number for sentence in sentences for number in sentence["evidence"]}
    assert cited == {item["number"] for item in shown["evidence"]}


def test_the_report_of_the_readme_names_every_finding_of_its_radiograph():
    drawn = phantom(PhantomConfig(size=256, seed=7_000), 253)
    with Image.open(DEMO / "radiograph.png") as image:
        assert np.array_equal(np.asarray(image), drawn.image)
    shown = json.loads(SHOWN.search(read(README))[1])["report"]["findings"]
    for finding in drawn.findings:
        words = {*finding.label.split(), *(finding.zone or "").split()}
        assert any(words <= set(re.findall(r"[a-z]+", one["sentence"].lower())) for one in shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_local_link_leads_somewhere(page):
    text = CODE.sub("", read(page))
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        target = page.parent / link if link else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), f"{link}#{anchor}"


def test_every_setting_that_a_page_names_exists():
    """All but the changelog, which names those that are gone."""
    today = [page for page in PAGES if page.name != "CHANGELOG.md"]
    named = {name for page in today for name in re.findall(r"\bECLIP_(\w*[A-Z])\b", read(page))}
    assert named
    assert {name.lower() for name in named} - Settings.model_fields.keys() <= {"shared_data"}


def test_no_module_has_over_300_lines():
    """A rule of docs/architecture.md. A module that must be longer is named there, and here."""
    modules = [path for top in ("service", "training") for path in (ROOT / top).rglob("*.py")]
    assert [path for path in modules if len(read(path).splitlines()) > 300] == []


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
