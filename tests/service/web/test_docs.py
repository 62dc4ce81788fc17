"""The page at /docs in a real Chromium that can reach nothing but a real server."""

import hashlib
import json
import re

import pytest
from playwright.sync_api import expect

from service.web.docs import POLICY

KEY = "the-key-of-a-reader"
EFFUSION = json.dumps({"texts": ["Pleural effusion."]})


@pytest.fixture
def open_docs(browser):
    """Opens /docs of a server; at the end, nothing was refused and no other server asked."""
    page = browser.new_page()
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    served = []

    def opened(url):
        served.append(url)
        page.goto(f"{url}/docs")
        expect(page.locator(".opblock").first).to_be_visible()
        return page

    yield opened
    page.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith((*served, "data:", "blob:"))] == []
    assert f"{served[0]}/openapi.json" in asked


def try_embed_text(page):
    """Sends a text by the page's own form and returns the status that the page shows."""
    operation = page.locator(".opblock").filter(has_text="/embed/text")
    if not operation.get_by_role("button", name="Execute").is_visible():
        operation.locator(".opblock-summary").click()
        operation.get_by_role("button", name="Try it out").click()
        operation.locator("textarea").fill(EFFUSION)
    with page.expect_response("**/embed/text") as answered:
        operation.get_by_role("button", name="Execute").click()
    status = operation.locator(".live-responses-table .response-col_status").last
    expect(status).to_contain_text(str(answered.value.status))
    return answered.value.status


@pytest.mark.slow
def test_the_page_shows_every_endpoint_and_tries_one(open_docs, server):
    page = open_docs(server.url)
    paths = page.request.get(f"{server.url}/openapi.json").json()["paths"]
    assert page.locator(".opblock").count() == sum(len(methods) for methods in paths.values())
    assert try_embed_text(page) == 200


@pytest.mark.slow
def test_a_reader_enters_a_key_once(browser, serve, tmp_path):
    keys = json.dumps({hashlib.sha256(KEY.encode()).hexdigest(): ["read"]})
    with serve(tmp_path, ECLIP_API_KEYS=keys) as server:
        page = browser.new_page()
        page.goto(f"{server.url}/docs")
        assert try_embed_text(page) == 401
        page.get_by_role("button", name="Authorize").first.click()
        dialog = page.locator(".dialog-ux")
        dialog.locator("input").fill(KEY)
        dialog.get_by_role("button", name="Apply credentials").click()
        dialog.get_by_role("button", name="Close").click()
        assert try_embed_text(page) == 200
        page.close()


def test_the_page_and_its_policy_name_no_other_server_and_nothing_inline(client):
    answer = client.get("/docs")
    assert answer.headers["content-security-policy"] == POLICY
    assert "default-src 'none'" in POLICY
    assert "unsafe" not in POLICY
    assert "://" not in answer.text
    assert not re.search(r"<script>|<style|style=|\son\w+=", answer.text)


def test_every_file_of_the_page_is_served_and_redoc_is_not(client):
    for name in re.findall(r'(?:src|href)="(docs/[^"]+)"', client.get("/docs").text):
        answer = client.get(f"/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(("text/javascript", "text/css"))
    assert client.get("/redoc").status_code == 404
