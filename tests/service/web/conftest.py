"""A real Chromium."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


@pytest.fixture(scope="package")
def browser():
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on this machine; .ci/run installs it")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def choose():
    """Gives the page a file as a user would."""

    def give(page, name, data, kind="image/png"):
        page.locator("#file").set_input_files({"name": name, "mimeType": kind, "buffer": data})

    return give
