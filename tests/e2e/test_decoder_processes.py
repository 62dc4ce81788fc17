"""Decoder processes live as long as the service, leave nothing, and cost no more than an image."""

import contextlib
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest
from pydicom import uid

from service.errors import EclipError, MemoryShort
from service.imaging.decode import ImageLimits, decode
from tests.support.archive import JPEG_XL_LOSSLESS, SYNTAXES, archived
from tests.support.damage import flipped, pixels_start
from tests.support.paths import ROOT
from tests.support.processes import Held, alive, decoders, eventually
from tests.support.server import run_server
from tests.support.synthetic import radiograph

pytestmark = pytest.mark.slow

LIMITS = ImageLimits()
APART = (uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.HTJ2KLossless, JPEG_XL_LOSSLESS)
"""One transfer syntax of each codec that runs in decoder processes."""
THREADS = 16
PIXELS = radiograph(301, 257, 12)
SMALL = {syntax: archived(syntax, PIXELS) for syntax in APART}
SHOWN = decode(archived(uid.ExplicitVRLittleEndian, PIXELS), LIMITS).pixels
"""What all of `SMALL` show."""


@pytest.fixture
def _short_time(monkeypatch):
    """A time limit that damaged JPEG-LS reaches soon."""
    monkeypatch.setattr("service.imaging.decoder_processes.MOST_S", 1)


def right(syntax) -> bool:
    return np.array_equal(decode(SMALL[syntax], LIMITS).pixels, SHOWN)


def kill_decoders() -> None:
    killed = decoders()
    for process in killed:
        process.kill()
    eventually(lambda: not any(each.is_running() for each in killed), "not waited for")
    time.sleep(0.2)  # until their places know of it


def digest(data: bytes) -> str:
    return hashlib.sha256(decode(data, LIMITS).pixels.tobytes()).hexdigest()


def decode_all_at_once(files: list[bytes]) -> list[str]:
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(digest, files))


def test_many_threads_get_their_own_images():
    """Each file differs from every other, so a mixed-up answer is a wrong digest."""
    rng = np.random.default_rng(0)
    files, expected = [], []
    for number in range(80):
        syntax = SYNTAXES[number % len(SYNTAXES)]
        pixels = radiograph(40 + number // len(SYNTAXES), int(rng.integers(40, 300)), 12)
        files.append(archived(syntax, pixels))
    expected = [digest(data) for data in files]
    order = list(range(len(files))) * 2
    random.Random(0).shuffle(order)
    assert decode_all_at_once([files[at] for at in order]) == [expected[at] for at in order]


def test_many_images_leave_no_process_descriptor_or_thread():
    files = [archived(syntax, PIXELS) for syntax in SYNTAXES]
    decode_all_at_once(files * 4)
    before, workers = Held.by(), {each.pid for each in decoders()}
    for _ in range(2):
        decode_all_at_once(files * 4)
    after = Held.by()
    assert (after.zombies, after.descriptors) == (0, before.descriptors)
    assert after.processes == before.processes
    assert after.threads <= before.threads + 2  # loky starts the last ones when they are needed
    assert {each.pid for each in decoders()} == workers


@pytest.mark.usefixtures("_short_time")
def test_images_that_are_damaged_leave_no_process_descriptor_or_thread():
    """The time limit ends a decoder process, and its successor holds as much as it did."""
    damaged = [
        each for syntax, data in SMALL.items()
        for each in flipped(data, pixels_start(data, syntax), 24, 1)
    ]  # fmt: skip

    def tried(data):
        try:
            digest(data)
        except EclipError as error:
            return error.type

    for syntax in APART:
        right(syntax)
    decode_all_at_once(list(SMALL.values()) * THREADS)
    before = Held.by()
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(tried, damaged))
    decode_all_at_once(list(SMALL.values()) * THREADS)
    eventually(lambda: Held.by().zombies == 0, "a dead process was not waited for")
    eventually(lambda: Held.by().descriptors <= before.descriptors, "descriptors are left open")
    eventually(lambda: Held.by().threads <= before.threads, "threads are left")
    assert Held.by().processes <= before.processes


@pytest.mark.parametrize("syntax", APART, ids=str)
def test_a_decoder_killed_between_images_costs_none(syntax):
    assert right(syntax)
    kill_decoders()
    assert right(syntax)
    assert all(right(other) for other in APART)
    assert Held.by().zombies == 0


@pytest.mark.parametrize("syntax", APART, ids=str)
def test_a_decoder_killed_during_an_image_costs_one_image(syntax):
    """That image, or the next one where the kill comes just after the image's end."""
    large = archived(syntax, radiograph(2500, 2500, 12))
    expected = digest(large)
    decode_all_at_once(list(SMALL.values()) * THREADS)
    busy = {each.pid: sum(each.cpu_times()[:2]) for each in decoders()}
    assert busy
    outcome = []

    def short_of_memory(data, expected):
        """Tells so; otherwise the image is right. The system kills what has no memory."""
        try:
            assert digest(data) == expected
        except MemoryShort:
            return True
        return False

    def try_large():
        outcome.append(short_of_memory(large, expected))

    thread = threading.Thread(target=try_large)
    thread.start()

    def killed():
        for each in decoders():
            if sum(each.cpu_times()[:2]) > busy.get(each.pid, 0) + 0.05:
                each.kill()
                return True
        return not thread.is_alive()

    eventually(killed, "no decoder became busy")
    small = hashlib.sha256(SHOWN.tobytes()).hexdigest()
    lost = [short_of_memory(SMALL[other], small) for other in APART]
    thread.join()
    assert sum(lost + outcome) <= 1
    assert all(right(other) for other in APART)
    eventually(lambda: Held.by().zombies == 0, "a killed process was not waited for")


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
@pytest.mark.parametrize("syntax", APART, ids=str)
def test_a_decoder_without_memory_costs_one_image(syntax):
    large = archived(syntax, radiograph(1200, 1200, 12))
    expected = digest(large)
    decode_all_at_once(list(SMALL.values()) * THREADS)
    for process in decoders():
        most = process.memory_info().vms + 8 * 2**20
        resource.prlimit(process.pid, resource.RLIMIT_AS, (most, most))
    try:
        with contextlib.suppress(EclipError):  # a codec without memory may call the frame damaged
            assert digest(large) == expected
    finally:
        kill_decoders()
    assert right(syntax)


PROGRAM = """
import sys, threading, time
from service.imaging.decode import ImageLimits, decode
files = [open(name, "rb").read() for name in sys.argv[2:]]
def all_of_them():
    for data in files:
        decode(data, ImageLimits())
# In a thread that ends: what a process starts must not hang on the thread that started it.
thread = threading.Thread(target=all_of_them)
thread.start()
thread.join()
print("decoded", flush=True)
if sys.argv[1] == "wait":
    time.sleep(1000)
elif sys.argv[1] == "again":
    time.sleep(2)
    all_of_them()
elif sys.argv[1] == "busy":
    threading.Thread(target=lambda: [all_of_them() for _ in range(10**6)], daemon=True).start()
    time.sleep(0.5)
"""


@pytest.fixture
def program(tmp_path):
    """Starts a program that decodes one file of each codec; all that it started ends with it."""
    names = []
    for number, data in enumerate(SMALL.values()):
        names.append(tmp_path / f"{number}.dcm")
        names[-1].write_bytes(data)
    started = []

    def start(then: str):
        process = psutil.Popen(
            [sys.executable, "-c", PROGRAM, then, *map(str, names)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        assert process.stdout.readline() == b"decoded\n", process.stderr.read()
        family = process.children(recursive=True)
        started.extend(family)
        return process, family

    yield start
    for process in alive(started):
        process.kill()
    for process in started[:1]:
        process.communicate()


def test_no_decoder_outlives_a_killed_service(program):
    process, family = program("wait")
    assert decoders(process.pid)
    process.kill()
    process.wait()
    eventually(lambda: not alive(family), f"still there: {alive(family)}")


@pytest.mark.parametrize("then", ["end", "busy"])
def test_no_decoder_outlives_a_process_that_ends(program, then):
    process, family = program(then)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 0
    assert b"loky" not in said
    eventually(lambda: not alive(family), f"still there: {alive(family)}")


def test_decoders_live_on_when_the_thread_that_started_them_ends(program):
    process, _ = program("again")
    _, said = process.communicate(timeout=100)
    assert (process.returncode, said) == (0, b"")


def answers(url: str) -> list[int]:
    return [httpx.post(f"{url}/embed/image", content=data, timeout=60).status_code
            for data in SMALL.values()]  # fmt: skip


def test_two_services_side_by_side_do_not_share_decoders(tmp_path_factory):
    first_dir, second_dir = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    with run_server(first_dir) as first, run_server(second_dir) as second:
        assert answers(first.url) == answers(second.url) == [200] * len(SMALL)
        of_first, of_second = decoders(first.process.pid), decoders(second.process.pid)
        assert of_first
        assert of_second
        assert not {each.pid for each in of_first} & {each.pid for each in of_second}
        for process in of_first:
            process.kill()
        assert answers(second.url) == answers(first.url) == [200] * len(SMALL)
        assert alive(of_second) == of_second
        family = decoders(first.process.pid) + of_second
    eventually(lambda: not alive(family), f"outlived their service: {alive(family)}")


def test_a_decoder_holds_none_of_the_services_sockets(tmp_path):
    """Else the port would be taken as long as one of them lives."""
    with run_server(tmp_path) as server:
        assert answers(server.url) == [200] * len(SMALL)
        assert decoders(server.process.pid)
        for process in decoders(server.process.pid):
            assert not process.net_connections()


def test_ctrl_c_ends_the_service_without_a_word_of_its_decoders(tmp_path):
    """A terminal sends SIGINT to the whole group."""
    with run_server(tmp_path) as server:
        assert answers(server.url) == [200] * len(SMALL)
        family = server.process.pid, decoders(server.process.pid)
        for process in family[1]:
            process.send_signal(signal.SIGINT)
        assert answers(server.url) == [200] * len(SMALL)
        server.process.send_signal(signal.SIGINT)
        server.process.wait(timeout=100)
        eventually(lambda: not alive(family[1]), f"outlived their service: {alive(family[1])}")
    assert "Traceback" not in server.log.read_text()
    assert "KeyboardInterrupt" not in server.log.read_text()
