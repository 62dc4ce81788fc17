"""Every line on standard error is JSON, and none quotes what its writer worked on."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from service import logs
from service.files import write_atomically
from service.logs import LINES, Limiter
from tests.support.paths import ROOT

CANARY = "Doe-Jane-19610304"
SPEAKERS = """
import asyncio, gc, logging, socket, sys, threading, warnings
from service.logs import configure_logging

NAME = "Doe-Jane-19610304"
configure_logging("info")

def fails(*_):
    raise ValueError(NAME)

class Collected:
    def __del__(self):
        fails()

async def in_the_loop():
    asyncio.get_running_loop().call_soon(fails, NAME)
    lost = asyncio.create_task(asyncio.sleep(0), name=NAME)
    await asyncio.sleep(0.01)
    task = asyncio.get_running_loop().create_future()
    task.set_exception(ValueError(NAME))

logging.getLogger("library").warning("cannot read %s in %d places\\nmore", NAME, 3)
logging.getLogger("library").warning("Invalid value for VR DA: " + NAME)
logging.getLogger("library").warning(f"{NAME} of %d places", 3)
logging.getLogger("library").warning("%s and %s", NAME)
logging.getLogger("library").warning("%d of", float("inf"))
logging.getLogger("library").log(35, "a level of its own")
logging.getLogger("library").error(socket.gaierror(-2, NAME))
logging.getLogger("uvicorn.error").error(OSError(98, NAME))
logging.getLogger("uvicorn.error").error(ValueError(NAME))
try:
    fails()
except ValueError:
    logging.getLogger("library").exception("in a library")
warnings.warn(NAME)
thread = threading.Thread(target=fails)
thread.start()
thread.join()
Collected()
asyncio.run(in_the_loop())
gc.collect()
fails()
"""


def test_every_line_is_json_and_without_values_whoever_wrote_it():
    done = subprocess.run(
        [sys.executable, "-c", SPEAKERS], cwd=ROOT, capture_output=True, text=True
    )
    assert CANARY not in done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    places = [line.get("place", "nowhere").partition(":")[0] for line in lines]
    said = list(
        zip(
            (line["event"] for line in lines),
            (line.get("error") for line in lines),
            places,
            strict=True,
        )
    )
    assert said == [
        ("cannot read … in 3 places", None, "nowhere"),
        ("library message", None, "<string>.<module>"),
        ("library message", None, "<string>.<module>"),
        ("%s and %s", None, "nowhere"),
        ("%d of", None, "nowhere"),
        ("a level of its own", None, "nowhere"),
        ("The host's name has no address", None, "nowhere"),
        ("Address already in use", None, "nowhere"),
        ("ValueError", None, "nowhere"),
        ("in a library", "ValueError", "__main__.fails"),
        ("warning", "UserWarning", "<string>"),
        ("unexpected error", "ValueError", "__main__.fails"),
        ("unexpected error", "ValueError", "__main__.fails"),
        ("Exception in callback fails(…)", "ValueError", "__main__.fails"),
        ("Future exception was never retrieved", "ValueError", "unknown"),
        ("unexpected error", "ValueError", "__main__.fails"),
    ]
    assert done.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_stream_that_takes_no_line_does_not_fail_who_logs():
    program = "from service.logs import configure_logging, log\nconfigure_logging('info')\n"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program + "log().info('x' * 9999)\nprint('on')"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=full,
        )
    assert done.stdout == b"on\n"


@pytest.fixture
def written(monkeypatch):
    """The lines that pass the limiter; `clock[0]` is the time."""
    clock, lines = [0.0], []
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])
    structlog.configure(processors=[Limiter(), lambda _l, _m, line: lines.append(line) or "x"])
    yield clock, lines
    structlog.reset_defaults()


def test_of_an_exception_the_place_in_our_own_code_is_kept_too():
    with pytest.raises(OSError, match=CANARY) as raised:
        write_atomically(Path("/dev/null") / CANARY / "file", b"")
    members = logs.failure(raised.value)
    assert CANARY not in str(members)
    own, _, place = members["place"].partition(" > ")
    assert own.startswith("service.files.")
    assert re.fullmatch(r"(pathlib|os)\S*mkdir:\d+", place)
    assert members["reason"] == "Not a directory"


def test_an_event_has_some_lines_a_minute_and_then_a_count(written):
    clock, lines = written
    for _ in range(LINES + 90):
        structlog.get_logger().warning("cut", why="room")
    structlog.get_logger().warning("cut", why="head")
    assert [line["event"] for line in lines] == ["cut"] * (LINES + 1)
    clock[0] = 61
    structlog.get_logger().info("another")
    assert [line["event"] for line in lines[-2:]] == ["lines left out", "another"]
    assert (lines[-2]["of"], lines[-2]["lines"]) == ("cut", 90)
    structlog.get_logger().warning("cut", why="room")
    assert lines[-1]["event"] == "cut"


def test_numbers_do_not_make_another_event(written):
    _, lines = written
    for number in range(10_000):
        structlog.get_logger().warning(f"attempt {number} of {number + 1}", logger="library")
    assert len(lines) == LINES


def test_every_request_has_its_line(written):
    _, lines = written
    for _ in range(3 * LINES):
        structlog.get_logger().info("request")
    assert len(lines) == 3 * LINES
