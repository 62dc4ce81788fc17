"""Pages of other sites in a real Chromium, which ask a server without keys."""

import http.server
import json
import threading
from functools import partial

import httpx
import pytest

from service.settings import DEMO

pytestmark = pytest.mark.slow
TRY = """async address => {
  const image = await new Promise(done => {
    const element = new Image();
    element.onload = () => done("shown");
    element.onerror = () => done("refused");
    element.src = address;
  });
  const fetched = await fetch(address, { mode: "no-cors" }).then(() => "answered", () => "refused");
  return [image, fetched];
}"""


@pytest.fixture(scope="module")
def other_site(tmp_path_factory):
    """The port of a server whose pages are of another site than 127.0.0.1."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text("<!doctype html><title>Another site</title>")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site.server_port
        site.shutdown()


@pytest.fixture(scope="module")
def stored(server):
    """The address of a stored radiograph."""
    files = {"files": (DEMO / "radiograph.png").read_bytes()}
    assert httpx.put(f"{server.url}/studies/CR-1", files=files).status_code == 200
    return f"{server.url}/studies/CR-1/image"


def statuses(server):
    """Status of each request to a stored image, from the server's log."""
    lines = (json.loads(line) for line in server.log.read_text().splitlines() if line[:1] == "{")
    return [line["status"] for line in lines if str(line.get("route")).endswith("/image")]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_another_sites_page_neither_shows_an_image_nor_learns_whether_it_exists(
    browser, server, stored, other_site, host
):
    """A page of localhost is cross-site; one of another port of 127.0.0.1 is same-site."""
    page = browser.new_page()
    page.goto(f"http://{host}:{other_site}/")
    before = len(statuses(server))
    there = page.evaluate(TRY, stored)
    absent = page.evaluate(TRY, stored.replace("CR-1", "CR-2"))
    assert there == absent == ["refused", "refused"]
    assert set(statuses(server)[before:]) == {403}
    page.close()


def test_another_sites_page_cannot_post_a_form(browser, server, other_site):
    page = browser.new_page()
    page.goto(f"http://localhost:{other_site}/")
    with page.expect_response(f"{server.url}/studies") as posted:
        page.evaluate(
            """address => {
              const form = Object.assign(document.createElement("form"),
                { method: "post", action: address, enctype: "multipart/form-data" });
              document.body.append(form);
              form.submit();
            }""",
            f"{server.url}/studies",
        )
    assert posted.value.status == 403
    page.wait_for_url(f"{server.url}/studies")
    page.close()


def test_another_sites_page_cannot_frame_an_answer(browser, server, other_site):
    page = browser.new_page()
    page.goto(f"http://localhost:{other_site}/")
    page.set_content(f'<iframe src="{server.url}/"></iframe>')
    page.frames[1].wait_for_url("chrome-error://**")
    page.close()


def test_a_typed_address_and_the_servers_own_page_show_the_image(browser, server, stored):
    page = browser.new_page()
    assert page.goto(stored).status == 200
    page.goto(server.url)
    assert page.evaluate("address => fetch(address).then(answer => answer.status)", stored) == 200
    page.close()
