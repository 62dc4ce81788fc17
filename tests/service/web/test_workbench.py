"""The workbench page in a real Chromium, against a real server."""

import pytest
from playwright.sync_api import expect

from service.access.key_file import add_key
from service.settings import DEMO
from service.web.page import VERSION
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
FOLDER = ROOT / "service" / "web" / "workbench"


@pytest.fixture
def page(browser, server):
    page = browser.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(server.url)
    yield page
    page.close()
    assert complaints == []


def test_a_dropped_radiograph_becomes_a_cited_report(page, radiograph, choose):
    expect(page.locator("#bundle")).to_have_text("Bundle phantom-demo 2")
    choose(page, "radiograph.png", radiograph)
    expect(page.get_by_role("status")).to_have_text("Done.", timeout=20_000)
    cited = page.locator("#report p sup a")
    assert cited.count() > 0
    for link in cited.all():
        assert page.locator(link.get_attribute("href")).count() == 1
    assert page.locator("#findings tr").count() == 8
    expect(page.locator("#cases figure")).to_have_count(6)
    page.locator("#cases img").evaluate_all("images => Promise.all(images.map(i => i.decode()))")
    assert "not a medical device" in page.inner_text("header")


def test_with_a_bundle_of_images_alone_similar_cases_are_shown(page, radiograph, choose):
    problem = {"type": "urn:eclip:bundle/no-text", "title": "Bundle has no text model"}
    answer = {"status": 422, "json": problem | {"detail": "It encodes images alone."}}
    page.route("**/generate-report", lambda route: route.fulfill(**answer))
    choose(page, "radiograph.png", radiograph)
    expect(page.locator("#report")).to_have_text("No report: the bundle encodes images alone.")
    expect(page.locator("#cases figure")).to_have_count(6)
    expect(page.locator("#findings tr")).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_text("")


def test_a_small_probability_is_not_shown_as_none(page, radiograph, choose):
    """As a bundle scored by sigmoid gives without calibration."""

    def lessen(route):
        written = route.fetch().json()
        for finding in written["classification"]:
            finding["probability"] = 4.54e-5
        route.fulfill(json=written)

    page.route("**/generate-report", lessen)
    choose(page, "radiograph.png", radiograph)
    expect(page.locator("#findings tr").first).to_contain_text("0.000045", timeout=20_000)


def test_a_dicom_that_the_browser_cannot_show_is_shown_by_the_page(page, choose):
    choose(page, "a.dcm", dicom_bytes(dicom_dataset()), "application/dicom")
    expect(page.get_by_role("status")).to_have_text("Done.", timeout=20_000)
    expect(page.get_by_label("Radiograph, 40 × 48 pixels")).to_be_visible()
    expect(page.locator("#cases figure")).to_have_count(6)


def test_a_file_that_is_not_an_image_is_refused_and_the_next_one_works(page, radiograph, choose):
    choose(page, "notes.png", b"plain text")
    expect(page.get_by_role("alert")).to_contain_text("Unsupported image", timeout=20_000)
    expect(page.locator("#answer")).to_be_hidden()
    choose(page, "radiograph.png", radiograph)
    expect(page.get_by_role("status")).to_have_text("Done.", timeout=20_000)
    expect(page.get_by_role("alert")).to_have_text("")


def test_the_answer_shown_belongs_to_the_image_shown(page, radiograph, choose):
    """The first file's answer comes after the second's, and is dropped."""
    held = []
    page.route("**/generate-report", lambda route: held.append(route), times=1)
    choose(page, "first.png", radiograph)
    expect(page.get_by_role("status")).to_have_text("Reading…")
    while not held:
        page.wait_for_timeout(20)
    choose(page, "second.png", b"plain text")
    expect(page.get_by_role("alert")).to_contain_text("Unsupported image", timeout=20_000)
    with page.expect_response("**/generate-report"):
        held[0].continue_()
    page.wait_for_timeout(200)
    expect(page.get_by_role("alert")).to_contain_text("Unsupported image")
    expect(page.locator("#answer")).to_be_hidden()


def test_the_page_lets_nothing_but_its_own_script_run_and_nobody_frame_it(page, server):
    answer = page.request.get(server.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'window.harmed = 1'}))"
    )
    assert page.evaluate("window.harmed") is None


def test_what_a_report_says_is_shown_as_text_and_never_run(browser, serve, tmp_path, choose):
    """A report in the library is somebody's data: markup in it stays markup."""
    script = "<img src=x onerror=window.harmed=1>"
    with serve(tmp_path) as server:
        page = browser.new_page()
        page.goto(server.url)
        report = f"FINDINGS: Effusion {script} here. IMPRESSION: {script} Effusion."
        assert page.request.put(f"{server.url}/studies/s1", data={"report": report}).ok
        choose(page, "radiograph.png", (DEMO / "radiograph.png").read_bytes())
        expect(page.get_by_role("status")).to_have_text("Done.", timeout=20_000)
        assert "onerror" in page.inner_text("#answer")
        assert page.evaluate("window.harmed") is None
        page.close()


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (
            {"agrees": "disagrees", "zone": "right lower"},
            " the map of effusion lies on the other side",
        ),
        ({"agrees": "agrees", "zone": "left lower"}, " map: left lower zone"),
        ({"agrees": None, "zone": None}, ""),
        ({"agrees": None, "zone": "left mid", "lungs_found": False}, ""),
        (None, ""),
    ],
)
def test_a_sentence_says_where_its_finding_points(page, region, words):
    region = region and {"finding": "effusion", "lungs_found": True} | region
    item = {"sentence": "Left effusion.", "evidence": [1], "against": [], "region": region}
    shown = page.evaluate(
        """async item => {
          const report = document.querySelector("script").src.replace("app.js", "report.js");
          return (await import(report)).sentence(item).textContent;
        }""",
        item,
    )
    assert shown == f"Left effusion. [1]{words}"


def test_the_page_takes_a_key_and_says_what_is_wrong_with_it(
    browser, serve, demo_copy, tmp_path, radiograph, choose
):
    """It shows the pictures too, for which an image element could send no key."""
    path = tmp_path / "keys.json"
    keys = {
        "reading": add_key(path, "reading", {"scopes": ["read"]}),
        "writing": add_key(path, "writing", {"scopes": ["write"]}),
        "old": add_key(path, "old", {"scopes": ["read"], "expires": "2020-01-31"}),
    }
    with serve(demo_copy, ECLIP_KEY_FILE=str(path)) as server:
        context = browser.new_context()
        page = context.new_page()
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.url)
        field, alert = page.get_by_label("API key"), page.get_by_role("alert")
        expect(alert).to_have_text("This server asks for an API key. Enter yours above.")
        for key, problem in (
            ("guess", "no known API key"),
            (keys["old"], "expired on 2020-01-31"),
            (keys["writing"], "lacks the scope `read`"),
            ("schlüssel", "only ASCII"),
        ):
            field.fill(key)
            field.blur()
            expect(alert).to_contain_text(problem)
        choose(page, "radiograph.png", radiograph)
        expect(alert).to_contain_text("only ASCII")
        field.fill(keys["reading"])
        field.blur()
        expect(page.locator("#bundle")).to_have_text("Bundle phantom-demo 2")
        expect(alert).to_have_text("")
        choose(page, "again.png", radiograph)
        expect(page.get_by_role("status")).to_have_text("Done.", timeout=20_000)
        expect(page.locator("#cases figure")).to_have_count(6)
        page.locator("#cases img").evaluate_all(
            "images => Promise.all(images.map(i => i.decode()))"
        )
        kept = page.evaluate("[{...localStorage}, {...sessionStorage}, document.cookie]")
        assert kept == [{}, {}, ""]
        assert context.cookies() == []
        assert not any(key in url for key in keys.values() for url in asked)
        page.reload()
        expect(alert).to_have_text("This server asks for an API key. Enter yours above.")
        context.close()


def test_a_browser_keeps_the_files_of_the_page_until_one_changes(page, server):
    loaded = page.evaluate(
        "performance.getEntriesByType('resource').map(each => each.name).filter("
        "name => /\\.(js|css)$/.test(name))"
    )
    names = {path.name for path in FOLDER.iterdir() if path.suffix in (".js", ".css")}
    assert {url.rpartition("/")[2] for url in loaded} == names
    for url in loaded:
        assert url.startswith(f"{server.url}/workbench/{VERSION}/")
        answer = page.request.get(url)
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-type"].startswith(("text/javascript", "text/css"))


def test_without_keys_the_page_asks_for_none(page):
    expect(page.locator("#bundle")).to_have_text("Bundle phantom-demo 2")
    expect(page.get_by_label("API key")).to_be_hidden()
