"""A DICOMweb service is asked in bounded time, again where that may help, and nobody else is."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial

import pytest
from pydantic import SecretStr

from service.errors import PeerRefused, PeerUnavailable, SettingInvalid
from service.pacs.address import WebAddress
from service.pacs.web.reply import read_items
from service.pacs.web.session import Patience, Question, WebSession
from service.pacs_settings import PacsSettings
from tests.support.web_peer import peer

QUICK = Patience(connect_s=2, silence_s=2, answer_s=5, tries=3, pause_s=0.01, total_s=20)
"""Waits long enough for a peer in this process, and pauses hardly at all."""
HASTY = Patience(connect_s=2, silence_s=0.2, answer_s=0.4, tries=2, pause_s=0.01, total_s=5)
"""For peers that say too little."""
STUDIES = Question(("studies",))
STUDY = {"0020000D": {"vr": "UI", "Value": ["1.2.3"]}}


@contextmanager
def asking(answer, patience=QUICK, **settings):
    """Yields a peer and a call that asks it for its studies."""
    with peer(answer) as server:
        session = WebSession(WebAddress(server.url), PacsSettings(**settings), patience)
        with closing(session):
            yield server, partial(session.ask, STUDIES, read_items)


def after(times, bad):
    """Answers badly so many times, and then with a study."""
    left = [bad] * times

    def answer(asked):
        left.pop()(asked) if left else asked.items(STUDY)

    return answer


@pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
def test_a_busy_service_is_asked_again(status):
    with asking(after(2, lambda asked: asked.reply(status))) as (server, ask):
        assert ask() == [STUDY]
        assert len(server.requests) == 3


def test_a_connection_that_breaks_is_tried_again():
    with asking(after(1, lambda asked: asked.drop())) as (server, ask):
        assert ask() == [STUDY]
        assert len(server.requests) == 2


def test_an_answer_that_breaks_off_is_asked_for_again():
    def half(asked):
        asked.begin(content_length="1000")
        asked.wfile.write(b"[{")
        asked.drop()

    with asking(after(1, half)) as (server, ask):
        assert ask() == [STUDY]
        assert len(server.requests) == 2


def test_no_thread_asks_before_the_time_that_one_of_them_was_told():
    busy = threading.Event()

    def answer(asked):
        if busy.is_set():
            asked.items(STUDY)
        else:
            busy.set()
            asked.reply(503, retry_after="1")

    with asking(answer) as (server, ask), ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask)
        busy.wait()
        while not server.requests or not ask.func.__self__._resume:
            pass
        resume = ask.func.__self__._resume
        assert ask() == first.result() == [STUDY]
        assert time.monotonic() >= resume
        assert len(server.requests) == 3


def test_after_the_last_attempt_the_service_counts_as_unavailable():
    with asking(lambda asked: asked.reply(503)) as (server, ask):
        with pytest.raises(PeerUnavailable, match="busy or away") as caught:
            ask()
        assert len(server.requests) == QUICK.tries
        assert caught.value.retry_after_s is not None


@pytest.mark.parametrize(
    ("value", "least"),
    [
        ("3600", 3600),
        (lambda: format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True), 7000),
        ("99999999999999999999", 86_400),
    ],
    ids=["seconds", "date", "huge"],
)
def test_a_pause_that_is_too_long_is_left_to_the_caller(value, least):
    value = value if isinstance(value, str) else value()
    with asking(lambda asked: asked.reply(503, retry_after=value)) as (server, ask):
        with pytest.raises(PeerUnavailable) as caught:
            ask()
        assert caught.value.retry_after_s >= least
        assert len(server.requests) == 1


@pytest.mark.parametrize("value", ["0", "Wed, 21 Oct 2015 07:28:00 GMT", "soon", "", "-1", "²"])
def test_a_pause_that_has_passed_or_cannot_be_read_holds_nobody_up(value):
    with asking(
        after(
            1, lambda asked: asked.reply(429, retry_after=value.encode("utf-8").decode("latin-1"))
        )
    ) as (_, ask):
        assert ask() == [STUDY]


def test_the_service_names_the_pause():
    patience = Patience(tries=2, pause_s=1000, total_s=30)
    busy = after(1, lambda asked: asked.reply(503, retry_after="0"))
    with asking(busy, patience) as (server, ask):
        assert ask() == [STUDY]
        assert len(server.requests) == 2


def test_a_port_on_which_nobody_listens_is_unavailable():
    with peer(lambda asked: asked.drop()) as gone:
        url = gone.url
    session = WebSession(WebAddress(url), PacsSettings(), QUICK)
    with closing(session), pytest.raises(PeerUnavailable, match="cannot be reached"):
        session.ask(STUDIES, read_items)


def dripped_body(asked):
    asked.begin(content_length="1000000")
    asked.drip()


def dripped_headers(asked):
    asked.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    asked.drip(b"x")


def silent_body(asked):
    asked.begin(content_length="1000000")
    asked.hang()


@pytest.mark.parametrize(
    "bad", [lambda asked: asked.hang(), silent_body, dripped_body, dripped_headers],
    ids=["silent", "silent-body", "dripped-body", "dripped-headers"],
)  # fmt: skip
def test_a_service_that_hangs_or_drips_is_left_in_time(bad):
    with asking(bad, HASTY) as (server, ask):
        with pytest.raises(PeerUnavailable, match="in time"):
            ask()
        assert len(server.requests) == HASTY.tries


def test_what_is_no_http_is_unavailable():
    def garbage(asked):
        asked.wfile.write(b"\x00\x01SSH-2.0-garbage\r\n\r\n")
        asked.drop()

    with asking(garbage) as (_, ask), pytest.raises(PeerUnavailable, match="speak HTTP"):
        ask()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<html><title>Log in</title></html>"),
        ("application/json", b"<html>"),
        ("application/dicom+json", b'[{"0020000D":'),
        ("application/dicom+json", b'["text", 1]'),
        ("application/dicom+json", b"[" * 100_000),
        ("application/dicom+json", b"\xff\xfe\x00"),
        ("application/dicom+xml", b"<NativeDicomModel/>"),
    ],
    ids=["page", "page-as-json", "half", "other-form", "deep", "binary", "xml"],
)
def test_an_answer_that_is_no_dicom_json_is_refused_without_quoting_it(kind, body):
    with asking(lambda asked: asked.reply(200, body, kind)) as (server, ask):
        with pytest.raises(PeerRefused, match="Check that its address") as caught:
            ask()
        assert len(server.requests) == 1
        assert "html" not in str(caught.value).lower()


def test_an_answer_beyond_all_bounds_is_not_read_to_its_end():
    def endless(asked):
        asked.begin(transfer_encoding="chunked")
        piece = b"100000\r\n" + b" " * 2**20 + b"\r\n"
        for _ in range(10_000):
            asked.wfile.write(piece)

    with asking(endless) as (_, ask), pytest.raises(PeerRefused, match="more than 32 MiB"):
        ask()


def test_a_compressed_answer_is_refused():
    with asking(lambda asked: asked.reply(200, b"..", content_encoding="gzip")) as (server, ask):
        with pytest.raises(PeerRefused, match="compress"):
            ask()
        assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("reply", [lambda asked: asked.begin(204), lambda asked: asked.reply()])
def test_an_empty_answer_lists_nothing(reply):
    with asking(reply) as (_, ask):
        assert ask() == []


@pytest.mark.parametrize(
    ("status", "settings", "named"),
    [
        (401, {}, "Set ECLIP_PACS_TOKEN, or ECLIP_PACS_USER and ECLIP_PACS_PASSWORD"),
        (401, {"pacs_token": "x"}, "ECLIP_PACS_TOKEN"),
        (403, {"pacs_user": "u", "pacs_password": "x"}, "ECLIP_PACS_USER and ECLIP_PACS_PASSWORD"),
        (404, {}, "base address"),
        (413, {}, "413"),
        (501, {}, "501"),
    ],
)
def test_a_refusal_says_what_to_correct(status, settings, named):
    with asking(lambda asked: asked.reply(status), **settings) as (server, ask):
        with pytest.raises(PeerRefused, match=named):
            ask()
        assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "says"), [(500, "it failed"), (507, "disk is full")])
def test_a_service_that_fails_is_unavailable(status, says):
    with asking(lambda asked: asked.reply(status)) as (server, ask):
        with pytest.raises(PeerUnavailable, match=says):
            ask()
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_follow_no_redirect(status):
    with peer(lambda asked: asked.items(STUDY)) as stranger:

        def elsewhere(asked):
            asked.reply(status, location=f"{stranger.url}/studies")

        secret = {"pacs_token": "secret"}
        with asking(elsewhere, **secret) as (_, ask), pytest.raises(PeerRefused, match="redirect"):
            ask()
        assert stranger.requests == []


def test_no_proxy_and_no_password_of_the_environment_is_used(monkeypatch, tmp_path):
    with peer(lambda asked: asked.items()) as stranger:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, stranger.url)
            monkeypatch.setenv(name.upper(), stranger.url)
        netrc = tmp_path / "netrc"
        netrc.write_text("default login stranger password x\n")
        monkeypatch.setenv("NETRC", str(netrc))
        with asking(lambda asked: asked.items(STUDY)) as (server, ask):
            assert ask() == [STUDY]
            assert "authorization" not in server.requests[0].headers
        assert stranger.requests == []


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({"pacs_token": "abc.def\n"}, "Bearer abc.def"),
        ({"pacs_user": "röntgen", "pacs_password": "p:ä\n"}, "Basic csO2bnRnZW46cDrDpA=="),
    ],
)
def test_credentials_of_the_settings_are_sent(settings, sent):
    with asking(lambda asked: asked.items(STUDY), **settings) as (server, ask):
        ask()
        assert server.requests[0].headers["authorization"] == sent
        host = server.requests[0].headers["host"]
        assert host == f"127.0.0.1:{server.server_port}"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"pacs_user": "u"}, "ECLIP_PACS_USER and ECLIP_PACS_PASSWORD together"),
        ({"pacs_password": "x"}, "together"),
        ({"pacs_token": "x", "pacs_user": "u", "pacs_password": "x"}, "Both"),
        ({"pacs_token": "schlüssel"}, "ASCII"),
        ({"pacs_token": "a\r\nX-Other: b"}, "one line"),
        ({"pacs_certificate_key": "key.pem"}, "without ECLIP_PACS_CERTIFICATE"),
        ({"pacs_ca": "missing.pem"}, "ECLIP_PACS_CA cannot be read"),
        ({"pacs_certificate": "missing.pem"}, "ECLIP_PACS_CERTIFICATE cannot be read"),
    ],
)
def test_credentials_that_cannot_be_used_are_named(settings, named):
    with pytest.raises(SettingInvalid, match=named) as caught:
        WebSession(WebAddress("http://127.0.0.1/dicom-web"), PacsSettings(**settings))
    assert "missing.pem" not in str(caught.value)


def test_an_address_may_have_a_prefix_with_any_letters():
    with peer(lambda asked: asked.items()) as server:
        session = WebSession(WebAddress(f"{server.url}/klinik süd"), PacsSettings(), QUICK)
        with closing(session):
            session.ask(Question(("studies", "1.2/3?x"), [("a", "b&c=ä +*?")]), read_items)
        path = "/dicom-web/klinik%20s%C3%BCd/studies/1.2%2F3%3Fx?a=b%26c%3D%C3%A4%20%2B*?"
        assert server.requests[0].path == path


def test_an_address_may_be_ipv6():
    try:
        with peer(lambda asked: asked.items(), host="::1") as server:
            with closing(WebSession(WebAddress(server.url), PacsSettings(), QUICK)) as session:
                session.ask(STUDIES, read_items)
            assert server.requests[0].headers["host"] == f"[::1]:{server.server_port}"
    except OSError:
        pytest.skip("needs IPv6")


def test_closing_ends_requests_that_wait():
    patience = Patience(silence_s=100, tries=3, pause_s=100, total_s=1000)
    waiting = threading.Event()

    def hang(asked):
        waiting.set()
        asked.hang()

    with peer(hang) as server, ThreadPoolExecutor(2) as pool:
        session = WebSession(WebAddress(server.url), PacsSettings(), patience)
        asked = pool.submit(session.ask, STUDIES, read_items)
        assert waiting.wait(20)
        session.close()
        with pytest.raises(PeerUnavailable):
            asked.result(20)
        with pytest.raises(PeerUnavailable):
            session.ask(STUDIES, read_items)


def test_many_threads_share_a_session():
    with asking(lambda asked: asked.items(STUDY)) as (server, ask), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: ask(), range(40))) == [[STUDY]] * 40
        assert len(server.requests) == 40


def test_secrets_are_in_no_error():
    secret = SecretStr("s3cret")
    with asking(lambda asked: asked.reply(401), pacs_token=secret) as (_, ask):
        with pytest.raises(PeerRefused) as caught:
            ask()
        assert "s3cret" not in repr(caught.value)
