import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from socketserver import ThreadingMixIn

import httpx
import pytest
from pydicom import dcmread, uid

from service.errors import ImageUndecodable, SettingInvalid, StoreFull, StoreUnavailable
from service.pacs.receive.acceptor import BEING_REFUSED, PATIENCE, Patience
from service.pacs.receive.receiver import Receiver
from service.settings import Settings
from tests.support.archive import JPEG_XLS, SYNTAXES, archived
from tests.support.certificates import authority, certificate
from tests.support.orthanc import run_orthanc
from tests.support.receiving import (
    Kept,
    association,
    counted,
    dataset_bytes,
    echoed,
    exchange,
    instance_uid,
    parts,
    send,
)
from tests.support.synthetic import radiograph

PIXELS = radiograph(96, 80, 12)
FILE = archived(uid.ExplicitVRLittleEndian, PIXELS)
OF_A_SERIES = {"PatientID": "7", "StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.4.5"}
"""What Orthanc asks of an object."""
MIB = 2**20
HTJ2KS = (uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL)
HASTY = Patience(request_s=0.6, silent_s=0.8, closing_s=5)


@pytest.fixture
def kept():
    return Kept()


@pytest.fixture
def listen(kept):
    """Starts receivers by their settings, and ends them."""
    started = []

    def start(patience=PATIENCE, **settings):
        receiver = Receiver(kept, Settings(listen_port=0, **settings), patience)
        receiver.start()
        started.append(receiver)
        return receiver

    yield start
    for each in started:
        each.close()


@pytest.fixture
def port(listen):
    return listen().port


def program(name):
    path = shutil.which(name, path="/usr/bin:/usr/local/bin")
    if path is None:
        pytest.skip(f"needs {name} of DCMTK")
    return path


def run(name, port, *rest):
    command = [program(name), "-aec", "ECLIP", *map(str, rest)]
    options = [each for each in command[3:] if each.startswith(("-", "+"))]
    others = [each for each in command[3:] if each not in options]
    return subprocess.run(
        [*command[:3], *options, "127.0.0.1", str(port), *others], capture_output=True, timeout=60
    )


def test_an_echo_is_answered(port):
    assert run("echoscu", port).returncode == 0


def test_storescu_sends_a_study(port, kept, tmp_path):
    files = [archived(uid.ExplicitVRLittleEndian, radiograph(40 + each, 32, 12)) for each in (0, 1)]
    for number, file in enumerate(files):
        (tmp_path / str(number)).write_bytes(file)
    assert run("storescu", port, tmp_path / "0", tmp_path / "1").returncode == 0
    assert kept.datasets == [dataset_bytes(file) for file in files]


@pytest.mark.parametrize(
    "syntax",
    [each for each in SYNTAXES if each.is_encapsulated and each not in {*JPEG_XLS, *HTJ2KS}],
    ids=lambda each: each.keyword,
)
def test_dcmsend_sends_compressed_objects_as_they_are_stored(port, kept, tmp_path, syntax):
    file = archived(syntax, PIXELS)
    (tmp_path / "file").write_bytes(file)
    assert run("dcmsend", port, "-dn", tmp_path / "file").returncode == 0
    assert kept.datasets == [dataset_bytes(file)]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda each: each.keyword or each)
def test_each_syntax_that_is_decoded_arrives_as_it_was_sent(port, kept, syntax):
    file = archived(syntax, PIXELS)
    with association(port, file) as made:
        assert send(made, file) == 0x0000
    (got,) = kept.files
    assert dataset_bytes(got) == dataset_bytes(file)
    assert dcmread(BytesIO(got), stop_before_pixels=True).file_meta.TransferSyntaxUID == syntax


def test_a_compressed_object_is_preferred_where_the_sender_proposes_several_syntaxes(port):
    from pynetdicom import AE

    node = AE()
    offered = [uid.ImplicitVRLittleEndian, uid.JPEG2000, uid.JPEG2000Lossless]
    node.add_requested_context(uid.ComputedRadiographyImageStorage, offered)
    made = node.associate("127.0.0.1", port, ae_title="ECLIP")
    assert made.accepted_contexts[0].transfer_syntax == [uid.JPEG2000Lossless]
    made.release()


@pytest.mark.slow
def test_orthanc_sends_its_objects_as_they_are_stored(port, kept, tmp_path):
    syntaxes = [each for each in SYNTAXES if each not in {*JPEG_XLS, *HTJ2KS}]  # of its DCMTK
    files = [archived(each, PIXELS, **OF_A_SERIES) for each in syntaxes]
    node = {"eclip": ["ECLIP", "127.0.0.1", port]}
    with run_orthanc(tmp_path / "orthanc", DicomModalities=node) as orthanc:
        ids = [answer["ID"] for answer in orthanc.put(*files)]
        for each in ids:
            sent = httpx.post(f"{orthanc.url}/modalities/eclip/store", content=each, timeout=60)
            assert sent.json()["FailedInstancesCount"] == 0, sent.text
        stored = [httpx.get(f"{orthanc.url}/instances/{each}/file").content for each in ids]
    assert kept.datasets == list(map(dataset_bytes, stored))
    got = [dcmread(BytesIO(each)).file_meta.TransferSyntaxUID for each in kept.files]
    assert got == syntaxes


@pytest.mark.parametrize(
    ("called", "calling"), [("OTHER", "MODALITY"), ("ECLIP", "STRANGER"), ("eclip", "MODALITY")]
)
def test_wrong_names_are_refused_for_good_and_counted(listen, called, calling):
    receiver = listen(listen_callers=["MODALITY", "OTHER ROOM"])
    before = counted("eclip_associations_total", outcome="refused-name")
    with association(receiver.port, called=called, calling=calling) as made:
        assert made.is_rejected
        assert made.acceptor.primitive.result == 1
    with association(receiver.port, calling="OTHER ROOM") as made:
        assert echoed(made) == 0
    assert counted("eclip_associations_total", outcome="refused-name") == before + 1


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (StoreFull("full"), 0xA700),
        (StoreUnavailable("broken"), 0xA700),
        (ImageUndecodable("none"), 0xC000),
        (RuntimeError("a defect"), 0x0110),
    ],
)
def test_what_the_intake_refuses_is_not_acknowledged(port, kept, refusal, status):
    kept.refusal = refusal
    with association(port, FILE) as made:
        assert send(made, FILE) == status
        kept.refusal = None
        assert send(made, FILE) == 0
    assert len(kept.files) == 1


def test_an_object_is_acknowledged_once_the_intake_has_it(port, kept):
    kept.gate = threading.Event()
    with association(port, FILE) as made, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(send, made, FILE)
        assert kept.waiting.acquire(timeout=60)
        time.sleep(0.2)
        assert not answer.done()
        kept.gate.set()
        assert answer.result(60) == 0


@pytest.mark.parametrize(
    "said", [{"sop_class": uid.DigitalXRayImageStorageForPresentation}, {"instance": "1.2.3"}]
)
def test_an_object_of_another_name_than_its_sender_says_is_refused(port, kept, said):
    with association(port, FILE) as made:
        (answer,) = exchange(made, parts(made, FILE, **said))
        assert answer.Status == 0xA900
    assert not kept.files


def test_bytes_that_are_no_dataset_are_not_understood(port, kept):
    with association(port, FILE) as made:
        (answer,) = exchange(made, parts(made, FILE, content=b"\xff" * 500))
        assert answer.Status == 0xC000
    assert not kept.files


def _context(made):
    return next(
        each.context_id
        for each in made.accepted_contexts
        if "Echo" not in each.abstract_syntax and each.abstract_syntax != "1.2.840.10008.1.1"
    )


def test_an_object_over_the_limit_is_answered_and_the_next_is_kept(listen, kept):
    receiver = listen(max_image_bytes=MIB)
    large = archived(uid.ExplicitVRLittleEndian, radiograph(1000, 900, 12))
    with association(receiver.port, large) as made:
        assert send(made, large) == 0xA700
        assert send(made, FILE) == 0
    assert len(kept.files) == 1


def test_an_endless_object_ends_the_association(listen, kept):
    receiver = listen(max_image_bytes=2**16)
    endless = archived(uid.ExplicitVRLittleEndian, radiograph(1000, 900, 12))
    with association(receiver.port, endless) as made:
        assert send(made, endless) is None
        _until(lambda: made.is_aborted)
    assert not kept.files


@pytest.mark.slow
def test_objects_together_have_no_more_memory_than_there_is(listen, kept):
    receiver = listen(memory_bytes=64 * MIB, max_image_bytes=20 * MIB)
    memory = receiver._acceptor.memory
    assert memory.free == 40 * MIB
    large = archived(uid.ExplicitVRLittleEndian, radiograph(3000, 3000, 12))
    kept.gate = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(_sent_alone, receiver.port, large) for _ in range(3)]
        assert kept.waiting.acquire(timeout=60)
        _until(lambda: sum(each.done() for each in answers) == 2)
        kept.gate.set()
        statuses = Counter(each.result(60) for each in answers)
    assert statuses == {0x0000: 1, 0xA700: 2}
    assert memory.free == 40 * MIB


def _sent_alone(port, file):
    with association(port, file) as made:
        return send(made, file)


def test_associations_are_refused_while_the_intake_is_full(port, kept):
    kept.full = True
    before = counted("eclip_associations_total", outcome="refused-full")
    with association(port) as made:
        assert made.is_rejected
        refused = made.acceptor.primitive
        assert (refused.result, refused.result_source, refused.diagnostic) == (2, 3, 1)
    kept.full = False
    with association(port) as made:
        assert echoed(made) == 0
    assert counted("eclip_associations_total", outcome="refused-full") == before + 1


def test_one_association_more_is_refused_for_a_while(listen):
    receiver = listen(listen_at_once=2)
    before = counted("eclip_associations_total", outcome="refused-busy")
    with association(receiver.port) as first, association(receiver.port):
        with association(receiver.port) as third:
            assert third.is_rejected
            assert third.acceptor.primitive.result == 2
        assert echoed(first) == 0
        first.release()
        _until(lambda: len(receiver._open) == 1)
        with association(receiver.port) as fourth:
            assert echoed(fourth) == 0
    assert counted("eclip_associations_total", outcome="refused-busy") == before + 1


def _until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "never happened"
        time.sleep(0.01)


@pytest.mark.slow
def test_two_hundred_associations_in_a_minute_stall_nobody(listen, kept):
    receiver = listen(listen_at_once=4)
    names = ("accepted", "refused-busy", "refused-full", "refused-name", "aborted")
    before = {name: counted("eclip_associations_total", outcome=name) for name in names}

    def once(number):
        with association(receiver.port, FILE, calling=f"ROOM{number}") as made:
            return send(made, FILE) if made.is_established else made.is_rejected

    with ThreadPoolExecutor(12) as pool:
        outcomes = Counter(pool.map(once, range(200), timeout=200))
    assert set(outcomes) == {0x0000, True}
    after = {name: counted("eclip_associations_total", outcome=name) for name in names}
    change = {name: after[name] - before[name] for name in names if after[name] != before[name]}
    assert change == {"accepted": outcomes[0x0000], "refused-busy": outcomes[True]}
    assert len(kept.files) == outcomes[0x0000] > 20
    _until(lambda: not receiver._acceptor.associations)


def test_half_an_object_is_not_kept_and_its_association_counts_as_aborted(listen, kept):
    receiver = listen()
    large = archived(uid.ExplicitVRLittleEndian, radiograph(600, 600, 12))
    before = counted("eclip_associations_total", outcome="aborted")
    with association(receiver.port, large) as made:
        for each in parts(made, large)[:3]:
            made.dul.send_pdu(each)
        _until(lambda: not made.dul.to_provider_queue.qsize())
        made.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        _until(lambda: not receiver._acceptor.associations)
    assert not kept.files
    assert counted("eclip_associations_total", outcome="aborted") == before + 1
    assert receiver._acceptor.memory.free == receiver._acceptor.memory.total


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent", [b"", b"\x01\x00\x00\x00", b"\x01\x00\xff\xff\xff\xff" + b"x" * 99]
)
def test_a_caller_that_asks_for_nothing_is_cut_and_stalls_nobody(listen, sent):
    receiver = listen(HASTY, listen_at_once=1)
    silent = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(8)]
    for each in silent:
        each.sendall(sent)
    with association(receiver.port) as made:
        assert echoed(made) == 0
    for each in silent:
        each.settimeout(30)
        assert _ends(each)
        each.close()
    _until(lambda: not receiver._acceptor.associations)


def _ends(connection):
    try:
        while connection.recv(1000):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.slow
@pytest.mark.parametrize("how_many", [0, 1, 3])
def test_a_caller_that_hangs_within_an_object_is_aborted(listen, kept, how_many):
    receiver = listen(HASTY)
    large = archived(uid.ExplicitVRLittleEndian, radiograph(600, 600, 12))
    with association(receiver.port, large) as made:
        for each in parts(made, large)[:how_many]:
            made.dul.send_pdu(each)
        _until(lambda: made.is_aborted)
    assert not kept.files
    _until(lambda: not receiver._acceptor.associations)


@pytest.mark.slow
def test_a_caller_that_drips_a_part_of_a_message_is_cut(listen, kept):
    receiver = listen(HASTY)
    with association(receiver.port, FILE) as made:
        raw = made.dul.socket.socket
        raw.sendall(struct.pack(">BBL", 4, 0, 5000))
        _until(lambda: _is_closed(raw))
    assert not kept.files


def _is_closed(connection):
    """Sends a byte more, and tells whether the other end has closed."""
    try:
        connection.sendall(b"\0")
    except OSError:
        return True
    time.sleep(0.05)
    return False


def test_more_connections_than_can_be_refused_are_closed(listen):
    receiver = listen(listen_at_once=1)
    silent = [
        socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(BEING_REFUSED + 4)
    ]
    silent[-1].settimeout(30)
    assert _ends(silent[-1])
    for each in silent:
        each.close()
    _until(lambda: not receiver._acceptor.associations, 10)  # not only once their time is over
    with association(receiver.port) as made:
        assert echoed(made) == 0


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">BBL", 4, 0, 10) + b"\0\0\0\6\1\3abcd",
        struct.pack(">BBL", 1, 0, 100) + b"\0" * 100,
        struct.pack(">BBL", 5, 0, 4) + b"\0" * 4,
    ],
)
def test_strange_bytes_end_their_own_connection_alone(port, junk):
    with socket.create_connection(("127.0.0.1", port)) as strange:
        strange.sendall(junk)
        strange.settimeout(60)
        with association(port) as made:
            assert echoed(made) == 0


@pytest.mark.parametrize(
    "part",
    [b"", b"\0", b"\3" + b"\0" * 40, b"\1" + b"\0" * 70_000, b"\3\0\0\0\0\4\0\0\0\xff\xff\xff"],
)
def test_a_strange_message_ends_its_own_association_alone(listen, kept, part):
    receiver = listen(HASTY)
    with association(receiver.port, FILE) as made:
        value = struct.pack(">LB", len(part) + 1, _context(made)) + part
        made.dul.socket.socket.sendall(struct.pack(">BBL", 4, 0, len(value)) + value)
        _until(lambda: not made.is_established)
    with association(receiver.port, FILE) as made:
        assert send(made, FILE) == 0
    assert len(kept.files) == 1


def test_a_sender_that_does_not_wait_for_answers_is_answered_in_order(port, kept):
    files = [archived(uid.ExplicitVRLittleEndian, radiograph(50 + n, 40, 12)) for n in range(6)]
    with association(port, FILE) as made:
        every = [each for file in files for each in parts(made, file)]
        answers = exchange(made, every, len(files))
    assert [each.Status for each in answers] == [0] * 6
    assert [each.AffectedSOPInstanceUID for each in answers] == list(map(instance_uid, files))
    assert kept.datasets == list(map(dataset_bytes, files))


def test_the_end_waits_for_objects_that_are_being_kept(listen, kept):
    receiver = listen()
    kept.gate = threading.Event()
    with association(receiver.port, FILE) as made, ThreadPoolExecutor(2) as pool:
        pool.submit(send, made, FILE)
        assert kept.waiting.acquire(timeout=60)
        closing = pool.submit(receiver.close)
        time.sleep(0.3)
        assert not closing.done()
        kept.gate.set()
        closing.result(60)
        _until(lambda: not made.is_established)
    assert len(kept.files) == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", made.acceptor.port))


def test_the_end_leaves_no_thread(listen):
    before = set(threading.enumerate())
    receiver = listen()
    with association(receiver.port), association(receiver.port):
        receiver.close()
    _until(lambda: not set(threading.enumerate()) - before)


def test_a_port_that_is_taken_is_said(listen):
    with pytest.raises(SettingInvalid, match="ECLIP_LISTEN_PORT"):
        Receiver(Kept(), Settings(listen_port=listen().port)).start()


def test_nothing_of_an_object_is_logged(listen, kept, capfd, caplog):
    receiver = listen()
    marked = archived(
        uid.ExplicitVRLittleEndian, PIXELS, PatientName="MARKED^ANNA", PatientID="MARKED-7"
    )
    caplog.set_level("DEBUG", "pynetdicom")
    with association(receiver.port, marked, calling="MARKED") as made:
        send(made, marked)
        kept.refusal = RuntimeError("MARKED")
        send(made, marked)
    with association(receiver.port, called="MARKED"):
        pass
    receiver.close()
    out, err = capfd.readouterr()
    assert "MARKED" not in out + err + caplog.text


@pytest.fixture
def pems(tmp_path):
    ca = authority(tmp_path)
    return ca, certificate(tmp_path, ca), certificate(tmp_path, ca, "modality")


def client_side(ca, own=None):
    context = ssl.create_default_context(cafile=ca.file)
    if own is not None:
        context.load_cert_chain(own.file, own.key_file)
    return context


def test_with_a_certificate_only_tls_is_taken(listen, kept, pems):
    ca, ours, _ = pems
    receiver = listen(listen_certificate=ours.file, listen_certificate_key=ours.key_file)
    with association(receiver.port, FILE, tls=client_side(ca)) as made:
        assert send(made, FILE) == 0
    with association(receiver.port, FILE) as made:
        assert not made.is_established
    assert len(kept.files) == 1


def test_with_authorities_callers_show_a_certificate(listen, kept, pems, tmp_path):
    ca, ours, theirs = pems
    (tmp_path / "other").mkdir()
    stranger = certificate(tmp_path / "other", authority(tmp_path / "other", "Strangers"))
    receiver = listen(
        listen_certificate=ours.file, listen_certificate_key=ours.key_file, listen_ca=ca.file
    )
    with association(receiver.port, FILE, tls=client_side(ca, theirs)) as made:
        assert send(made, FILE) == 0
    for own in (None, stranger):
        with association(receiver.port, FILE, tls=client_side(ca, own)) as made:
            assert not made.is_established
    assert len(kept.files) == 1


def test_storescu_sends_over_tls(listen, kept, pems, tmp_path):
    ca, ours, theirs = pems
    receiver = listen(
        listen_certificate=ours.file, listen_certificate_key=ours.key_file, listen_ca=ca.file
    )
    (tmp_path / "file").write_bytes(FILE)
    sent = subprocess.run(
        [
            program("storescu"), "-aec", "ECLIP", "+tls", theirs.key_file, theirs.file,
            "+cf", ca.file, "127.0.0.1", str(receiver.port), tmp_path / "file",
        ],
        capture_output=True,
        timeout=60,
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    assert kept.datasets == [dataset_bytes(FILE)]


@pytest.mark.slow
def test_a_handshake_that_hangs_stalls_nobody(listen, pems):
    ca, ours, _ = pems
    receiver = listen(HASTY, listen_certificate=ours.file, listen_certificate_key=ours.key_file)
    silent = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(8)]
    with association(receiver.port, FILE, tls=client_side(ca)) as made:
        assert send(made, FILE) == 0
    for each in silent:
        each.close()


def test_connections_that_found_no_thread_take_no_room_from_later_ones(listen, monkeypatch):
    receiver = listen(listen_at_once=1)

    def start(*_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without_threads:
        without_threads.setattr(ThreadingMixIn, "process_request", start)
        for _ in range(1 + BEING_REFUSED):
            with socket.create_connection(("127.0.0.1", receiver.port)) as made:
                made.settimeout(60)
                assert made.recv(1) == b""
    with association(receiver.port) as made:
        assert echoed(made) == 0


def test_a_receiver_whose_thread_ended_is_not_alive(listen):
    receiver = listen()
    assert receiver.alive
    receiver._acceptor.stop()
    _until(lambda: not receiver.alive)
