"""Decoder processes live on, cost only their own frame, and leave nothing behind."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from service.errors import ImageUndecodable
from service.imaging import decoder_processes
from service.imaging.dicom.codecs import FrameDamaged
from service.imaging.dicom.frame_header import FrameHeader

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

PIXELS = np.arange(60 * 50, dtype=np.uint16).reshape(60, 50)
HEADER = FrameHeader("jpeg-ls", 60, 50, 1, 16)
FRAME = bytes(imagecodecs.jpegls_encode(PIXELS))


@pytest.fixture
def place():
    place = decoder_processes._Place()
    yield place
    if place._executor is not None:
        place._executor.shutdown()


def stays(condition) -> bool:
    """Whether a condition still holds after half a minute; returns as soon as it does not."""
    end = time.monotonic() + 30
    while condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_a_process_lives_on(place):
    first = place._run(os.getpid)
    for _ in range(3):
        np.testing.assert_array_equal(place.decode(HEADER, FRAME, 0), PIXELS)
    assert place._run(os.getpid) == first != os.getpid()


def test_words_come_back_where_there_is_no_memory_to_share(place, monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    np.testing.assert_array_equal(place.decode(HEADER, FRAME, 0), PIXELS)


def test_words_come_back_where_the_memory_cannot_be_opened(place, monkeypatch):
    place._run(os.getpid)
    monkeypatch.setattr(os, "getpid", lambda: 2**30)
    np.testing.assert_array_equal(place.decode(HEADER, FRAME, 0), PIXELS)


def test_what_is_returned_stays_when_the_next_frame_comes(place):
    first = place.decode(HEADER, FRAME, 0)
    place.decode(HEADER, bytes(imagecodecs.jpegls_encode(PIXELS[::-1].copy())), 0)
    np.testing.assert_array_equal(first, PIXELS)


def test_a_damaged_frame_costs_no_process(place):
    before = place._run(os.getpid)
    with pytest.raises(FrameDamaged, match=r"^JpeglsError$"):
        place.decode(HEADER, FRAME[:40], 0)
    assert place._run(os.getpid) == before


@pytest.mark.parametrize("ends", [signal.SIGSEGV, signal.SIGABRT])
def test_a_frame_that_ends_its_process_is_undecodable_and_the_next_one_is_read(place, ends, capfd):
    before = place._run(os.getpid)
    with pytest.raises(ImageUndecodable, match="ended its decoder"):
        place._run(signal.raise_signal, ends)
    np.testing.assert_array_equal(place.decode(HEADER, FRAME, 0), PIXELS)
    assert place._run(os.getpid) != before
    assert capfd.readouterr() == ("", "")


def test_a_process_that_the_system_kills_was_short_of_memory(place):
    with pytest.raises(MemoryError):
        place._run(signal.raise_signal, signal.SIGKILL)


def test_a_process_that_could_not_start_was_short_of_memory(place, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(MemoryError):
        place.decode(HEADER, FRAME, 0)


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, ""), RuntimeError("no new thread")])
def test_what_a_system_refuses_to_start_was_short_of_memory(place, monkeypatch, error):
    def start(_):
        raise error

    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(2):  # the second must not wait for the first, which has started in part
        with pytest.raises(MemoryError):
            place.decode(HEADER, FRAME, 0)
    monkeypatch.undo()
    np.testing.assert_array_equal(place.decode(HEADER, FRAME, 0), PIXELS)


def test_a_process_that_never_answers_was_short_of_memory(place, monkeypatch):
    os.kill(place._run(os.getpid), signal.SIGSTOP)
    monkeypatch.setattr(decoder_processes, "MOST_S", 0.1)
    monkeypatch.setattr(decoder_processes, "_START_S", 0.1)
    with pytest.raises(MemoryError):
        place.decode(HEADER, FRAME, 0)


def test_a_process_that_ended_between_two_frames_costs_none(place):
    os.kill(place._run(os.getpid), signal.SIGKILL)
    assert not stays(lambda: place._executor._flags.broken is None)
    np.testing.assert_array_equal(place.decode(HEADER, FRAME, 0), PIXELS)


def test_a_frame_that_keeps_its_codec_busy_is_undecodable(place, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 2**16, (2000, 2000), np.uint16)
    slow = bytes(imagecodecs.jpeg2k_encode(noise, codecformat="J2K", reversible=True))
    header = FrameHeader("jpeg-2000", 2000, 2000, 1, 16)
    place._run(os.getpid)
    monkeypatch.setattr(decoder_processes, "MOST_S", 0.05)
    with pytest.raises(ImageUndecodable, match="kept it busy"):
        place.decode(header, slow, 0)
    monkeypatch.undo()
    np.testing.assert_array_equal(place.decode(header, slow, 0), noise)


def test_a_frame_gets_no_more_memory_than_is_estimated(place, monkeypatch):
    big = np.zeros((3000, 3000), np.uint16)
    frame = bytes(imagecodecs.jpegls_encode(big))
    header = FrameHeader("jpeg-ls", 3000, 3000, 1, 16)
    place.decode(HEADER, FRAME, 0)
    monkeypatch.setattr(decoder_processes, "process_bytes", lambda *_, **__: 2**20)
    with pytest.raises((MemoryError, FrameDamaged)):
        place.decode(header, frame, 0)
    monkeypatch.undo()
    np.testing.assert_array_equal(place.decode(header, frame, 0), big)


def test_a_process_gets_no_socket_no_key_and_no_output_of_ours(place, monkeypatch, capfd):
    monkeypatch.setenv("ECLIP_KEY", "canary")
    with socket.create_server(("127.0.0.1", 0)):
        process = place._run(os.getpid)
        opened = {fd.name: str(fd.readlink()) for fd in Path(f"/proc/{process}/fd").iterdir()}
    assert {opened[standard] for standard in "012"} == {os.devnull}
    assert not [link for link in opened.values() if link.startswith("socket:")]
    assert b"canary" not in Path(f"/proc/{process}/environ").read_bytes()
    assert place._run(os.write, 2, b"said") == 4
    assert capfd.readouterr() == ("", "")


def test_a_process_keeps_what_glibc_is_told(place, monkeypatch):
    """Emptied, MALLOC_MMAP_THRESHOLD_ counts as 0, and every allocation asks the system."""
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "33554432")
    process = place._run(os.getpid)
    assert b"MALLOC_MMAP_THRESHOLD_=33554432" in Path(f"/proc/{process}/environ").read_bytes()


def test_nothing_is_left_of_processes_that_ended():
    def ended(times: int) -> tuple[int, int]:
        place = decoder_processes._Place()
        for _ in range(times):
            with pytest.raises(ImageUndecodable):
                place._run(os.abort)
        place.decode(HEADER, FRAME, 0)
        place._executor.shutdown()
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        return len([*Path("/proc/self/fd").iterdir()]), len(children)

    first = ended(1)  # what earlier tests left may still go
    assert not stays(lambda: any(more > few for more, few in zip(ended(3), first, strict=True)))


def test_threads_share_the_places(monkeypatch):
    places = decoder_processes._Places()
    monkeypatch.setattr(decoder_processes, "_PLACES", places)
    with ThreadPoolExecutor(4) as pool:
        frames = list(pool.map(lambda _: decoder_processes.decode(HEADER, FRAME), range(40)))
    for words in frames:
        np.testing.assert_array_equal(words, PIXELS)
    started = [place for place in places._free.queue if place._executor is not None]
    assert 1 <= len(started) <= decoder_processes._CORES
    for place in started:
        place._executor.shutdown()


FORK = """
import os, sys
import numpy as np
from service.imaging import decoder_processes
from tests.service.imaging.test_decoder_processes import FRAME, HEADER, PIXELS
def decoded():
    return np.array_equal(decoder_processes.decode(HEADER, FRAME), PIXELS)
assert decoded()
if (child := os.fork()) == 0:
    os._exit(0 if decoded() else 3)
assert os.waitpid(child, 0)[1] == 0
assert decoded()
"""


def test_a_process_that_was_forked_has_its_own():
    subprocess.run([sys.executable, "-c", FORK], capture_output=True, timeout=120, check=True)


ENDS = """
import os, sys, time
from service.imaging import decoder_processes
from tests.service.imaging.test_decoder_processes import FRAME, HEADER
decoder_processes.decode(HEADER, FRAME)
for task in os.listdir("/proc/self/task"):
    print(*open(f"/proc/self/task/{task}/children").read().split(), end=" ")
print(flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("kill", [False, True], ids=["ends", "is killed"])
def test_processes_end_with_the_service(kill):
    with subprocess.Popen(
        [sys.executable, "-c", ENDS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as service:
        children = service.stdout.readline().split()
        if kill:
            service.kill()
        _, said = service.communicate(b"\n", timeout=60)
    assert children
    assert not stays(lambda: any(Path(f"/proc/{int(child)}").exists() for child in children))
    assert kill or (service.returncode, said) == (0, b"")


LAZY = """
import sys
import service.imaging.decode, service.wiring
print(*{"imagecodecs", "loky", "cloudpickle"} & set(sys.modules))
"""


def test_the_service_starts_without_codecs_and_processes():
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, check=True)
    assert done.stdout == b"\n"


def test_loky_warns_of_nothing(place):
    with warnings.catch_warnings(record=True) as seen:
        with pytest.raises(ImageUndecodable):
            place._run(os.abort)
        place.decode(HEADER, FRAME, 0)
    assert [str(each.message) for each in seen] == []
