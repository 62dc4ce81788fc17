"""Runs DICOM nodes for a test: DCMTK's archive and receiver, and nodes made with pynetdicom."""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from pynetdicom import AE

from service.pacs.address import NodeAddress
from tests.support.orthanc import free_port

START_S = 30


def program(name: str) -> str:
    """Returns the path of a program of DCMTK, or skips the test."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name} of DCMTK")
    return path


@contextmanager
def run_dcmqrscp(
    folder: Path, *options: str, moves_to: Mapping[str, int] | None = None
) -> Iterator[NodeAddress]:
    """Runs DCMTK's archive. moves_to: AE title → port of this machine that it may send to."""
    port = free_port()
    (folder / "held").mkdir(parents=True)
    hosts = [f"{each} = ({each}, 127.0.0.1, {at})" for each, at in (moves_to or {}).items()]
    configuration = [
        f"NetworkTCPPort = {port}", "MaxPDUSize = 16384", "MaxAssociations = 16",
        "HostTable BEGIN", *hosts, "HostTable END", "VendorTable BEGIN", "VendorTable END",
        "AETable BEGIN", f"HELD {folder / 'held'} RW (200, 1024mb) ANY", "AETable END",
    ]  # fmt: skip
    (folder / "dcmqrscp.cfg").write_text("\n".join([*configuration, ""]))
    command = [program("dcmqrscp"), *options, "-c", str(folder / "dcmqrscp.cfg")]
    with _running(command, port):
        yield NodeAddress("HELD", "127.0.0.1", port)


@contextmanager
def run_storescp(folder: Path, *options: str) -> Iterator[NodeAddress]:
    """Runs DCMTK's receiver, which writes into this folder."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [program("storescp"), "-od", str(folder), *options, str(port)]
    with _running(command, port):
        yield NodeAddress("STORE", "127.0.0.1", port)


@contextmanager
def run_node(
    contexts: list[Any], handlers: list[Any], *, ssl_context: Any = None, **attributes: Any
) -> Iterator[NodeAddress]:
    """Runs a node made with pynetdicom. attributes: of its application entity."""
    node = AE("NODE")
    for name, value in attributes.items():
        setattr(node, name, value)
    server = node.start_server(
        ("127.0.0.1", 0),
        block=False,
        contexts=contexts,
        evt_handlers=handlers,
        ssl_context=ssl_context,
    )
    try:
        yield NodeAddress("NODE", "127.0.0.1", server.server_address[1])
    finally:
        node.shutdown()


@contextmanager
def run_socket(serve: Callable[[socket.socket], None]) -> Iterator[NodeAddress]:
    """Runs what accepts connections and does no DICOM. serve: is given each connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            serve(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield NodeAddress("NOBODY", "127.0.0.1", listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for each in connections:
            each.close()
        thread.join()


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fails if the block leaves a thread or an open socket in this process."""
    before = _held()
    yield
    end = time.monotonic() + 5
    while (left := _held() - before) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left


def _held() -> set[Any]:
    connections = psutil.Process().net_connections(kind="tcp")
    return {*threading.enumerate(), *((each.fd, each.laddr, each.raddr) for each in connections)}


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the DICOM node did not start")
