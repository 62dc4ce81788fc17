"""A real Chromium, which may reach this machine alone."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on this machine; .ci/run installs it")
    expect.set_options(timeout=30_000)  # ms: a page takes long where other tests have the cores
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def choose():
    """Gives the page a file as a user would."""

    def give(page, name, data, kind="image/png"):
        page.locator("#file").set_input_files({"name": name, "mimeType": kind, "buffer": data})

    return give
