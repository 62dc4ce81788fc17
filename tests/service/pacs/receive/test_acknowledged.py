"""Witnesses that what a sender was told is stored outlives the receiver's process."""

import signal
import subprocess
import sys
import threading
from io import BytesIO

import pytest
from pydicom import dcmread, uid

from service.pacs.receive.receiver import Receiver
from service.pacs.receive.sealed_file import sealed_size
from service.pacs.receive.spool import Spool
from service.settings import Settings
from tests.support.archive import archived
from tests.support.disks import fill, small_disk
from tests.support.paths import ROOT
from tests.support.receiving import association, instance_uid, send
from tests.support.synthetic import radiograph

KEY = bytes(range(32))
LISTENING = """
import sys, time
from pathlib import Path
from service.pacs.receive.receiver import Receiver
from service.settings import Settings
from tests.service.pacs.receive.test_acknowledged import Spooled
receiver = Receiver(Spooled(Path(sys.argv[1])), Settings(listen_port=0))
receiver.start()
print(receiver.port, flush=True)
time.sleep(100)
"""


class Spooled:
    """An intake that is a spool, as small as one can be."""

    def __init__(self, folder, limit=2**30):
        self.spool = Spool(folder, KEY, limit)

    @property
    def full(self):
        return self.spool.full

    def take(self, file):
        self.spool.keep(file)


def kept_uids(folder):
    spool = Spool(folder, KEY, 2**30)
    try:
        files = [spool.read(name) for name in spool.names()]
    finally:
        spool.close()
    for file in files:
        assert dcmread(BytesIO(file)).pixel_array.any()
    return [instance_uid(file) for file in files]


@pytest.mark.slow
def test_a_killed_receiver_has_kept_what_it_acknowledged(tmp_path):
    files = [archived(uid.ExplicitVRLittleEndian, radiograph(90 + n, 80, 12)) for n in range(40)]
    acknowledged, told = [], 0
    for after in (1, 4, 9, 2, 6):
        listening = subprocess.Popen(
            [sys.executable, "-c", LISTENING, str(tmp_path / "spool")],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        port = int(listening.stdout.readline())
        enough = threading.Semaphore(0)

        def kill(listening=listening, enough=enough, after=after):
            for _ in range(after):
                enough.acquire(timeout=60)
            listening.send_signal(signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with association(port, files[0]) as made:
            for file in files[told:] + files[:told]:
                status = send(made, file)
                enough.release()
                if status is None:
                    break
                assert status == 0
                acknowledged.append(instance_uid(file))
        killer.join()
        listening.wait()
        listening.stdout.close()
        told = len(acknowledged) % len(files)
    assert len(acknowledged) >= 5
    assert set(acknowledged) <= set(kept_uids(tmp_path / "spool"))


def test_a_full_spool_answers_the_sender_and_refuses_the_next(tmp_path):
    files = [archived(uid.ExplicitVRLittleEndian, radiograph(90 + n, 80, 12)) for n in range(5)]
    intake = Spooled(tmp_path / "spool", 4 * sealed_size(len(files[0])))
    with Receiver(intake, Settings(listen_port=0)) as receiver:
        with association(receiver.port, *files) as made:
            assert [send(made, file) for file in files] == [0, 0, 0, 0, 0xA700]
        with association(receiver.port) as made:
            assert made.is_rejected
        intake.spool.drop(intake.spool.names()[:2])
        with association(receiver.port, files[4]) as made:
            assert send(made, files[4]) == 0
    intake.spool.close()
    assert kept_uids(tmp_path / "spool") == [instance_uid(file) for file in files[2:]]


def test_a_full_disk_answers_the_sender(tmp_path):
    file = archived(uid.ExplicitVRLittleEndian, radiograph(700, 700, 12))
    with small_disk(tmp_path / "disk", 8) as disk:
        intake = Spooled(disk / "spool", 16 * 2**20)
        with (
            Receiver(intake, Settings(listen_port=0)) as receiver,
            association(receiver.port, file) as made,
        ):
            assert send(made, file) == 0
            fill(disk, left=2**19)
            assert send(made, file) == 0xA700
            (disk / "filler").unlink()
            assert send(made, file) == 0
        intake.spool.close()
        assert len(kept_uids(disk / "spool")) == 2
