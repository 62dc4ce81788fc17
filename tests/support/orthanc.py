"""Runs a real Orthanc with its DICOMweb plugin, for a test, on ports of its own."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

START_S = 60
PLUGINS = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def free_port() -> int:
    """Returns a TCP port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Orthanc:
    """A running Orthanc: its HTTP and DICOM ports, log, and what it holds."""

    http_port: int
    dicom_port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Base address of its own REST API."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def web(self) -> str:
        """Its DICOMweb service, as `eclip` takes it."""
        return f"dicomweb+{self.url}/dicom-web"

    @property
    def node(self) -> str:
        """Its DICOM node, as `eclip` takes it."""
        return f"dimse://ORTHANC@127.0.0.1:{self.dicom_port}"

    @property
    def log(self) -> str:
        """What it has logged, requests included (it runs with --verbose)."""
        return (self.folder / "orthanc.log").read_text(errors="replace")

    def get(self, path: str) -> Any:
        """Answers of its REST API."""
        return httpx.get(self.url + path, timeout=60).raise_for_status().json()

    def put(self, *files: bytes) -> list[dict[str, Any]]:
        """Stores DICOM files by its REST API, and returns its answers."""
        return [
            httpx.post(f"{self.url}/instances", content=file, timeout=60).raise_for_status().json()
            for file in files
        ]

    def files(self, modality: str | None = None) -> list[bytes]:
        """All DICOM files that it holds, or those of one modality."""
        asked = {"Level": "Instance", "Query": {"Modality": modality} if modality else {}}
        found = httpx.post(f"{self.url}/tools/find", json=asked, timeout=60).json()
        return [httpx.get(f"{self.url}/instances/{each}/file").content for each in found]

    def remove(self, instance: str) -> None:
        """Removes an object, by the ID that Orthanc gave it."""
        httpx.delete(f"{self.url}/instances/{instance}", timeout=60).raise_for_status()

    def delete_studies(self) -> None:
        """Empties it."""
        for each in self.get("/studies"):
            httpx.delete(f"{self.url}/studies/{each}").raise_for_status()


@contextmanager
def run_orthanc(folder: Path, **settings: Any) -> Iterator[Orthanc]:
    """Runs Orthanc with its files in this folder, and yields it once it answers.

    settings: of its configuration file, over those that every test needs. `DicomModalities` names
    nodes that it may move to: {"ECLIP": ["ECLIP", "127.0.0.1", port]}. Skips the test where Orthanc
    is missing.
    """
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None or not PLUGINS.exists():
        pytest.skip("needs Orthanc and its DICOMweb plugin")
    http_port, dicom_port = settings.get("HttpPort", free_port()), free_port()
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [str(PLUGINS)],
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "UnknownSopClassAccepted": True,
        "SaveJobs": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    } | settings
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("ab") as log:
        process = subprocess.Popen(
            [program, "--verbose", str(folder / "orthanc.json")], stdout=log, stderr=log
        )
    try:
        orthanc = Orthanc(http_port, dicom_port, folder, process)
        _wait_until_it_answers(orthanc)
        yield orthanc
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(orthanc: Orthanc) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and orthanc.process.poll() is None:
        try:
            httpx.get(f"{orthanc.url}/system", timeout=5)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"Orthanc did not start: {orthanc.log[-2000:]}")
