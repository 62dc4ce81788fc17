"""Program that writes the SBOM (CycloneDX 1.6, JSON) of a virtual environment.

    python deploy/sbom.py eclip.cdx.json --python .venv/bin/python

cyclonedx-py lists the Python packages. Added to each are the native libraries within its wheel,
which no scanner of package names sees: those that the wheel's own SBOM names (PEP 770), and every
shared library among its files. `--debian` adds Debian packages, as `dpkg-query -W` lists them.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

Component = dict[str, Any]
PROJECT = Path(__file__).parents[1] / "pyproject.toml"
_SHARED = re.compile(r"(lib.+?)(?:-[0-9a-f]{8})*\.(?:so|dylib)(?:\.([\w.]+))?")
"""Name of a shared library; auditwheel adds a hash to it. After `.so` comes its version, if any."""
_KEPT = ("name", "version", "scope", "licenses", "purl")
"""What is kept of a component of a wheel's own SBOM."""


def sbom(python: Path, debian: Path | None = None) -> dict[str, Any]:
    """Returns the SBOM of a virtual environment as JSON.

    python: its interpreter. debian: file of lines `name[:architecture] version`. Raises ValueError
    if the result breaks CycloneDX's schema.
    """
    options = ["--pyproject", str(PROJECT), "--sv", "1.6", "--output-reproducible", "--no-validate"]
    listed = _output(sys.executable, "-m", "cyclonedx_py", "environment", *options, str(python))
    document: dict[str, Any] = json.loads(listed)
    path = _output(str(python), "-c", "import sys; print(*sys.path, sep='\\n')").splitlines()
    within = {_key(d.name): list(_native(d)) for d in distributions(path=path)}
    for component in document["components"]:
        if native := within.get(_key(component["name"])):
            component["components"] = native
    if debian is not None:
        document["components"] += [_debian(line) for line in debian.read_text().splitlines()]
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)):
        raise ValueError(f"the SBOM breaks CycloneDX's schema: {error}")
    return document


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _native(wheel: Distribution) -> Iterator[Component]:
    """Yields what a wheel holds besides itself, each name and version once."""
    found = {(c["name"], c.get("version", "")): c for c in (*_declared(wheel), *_shared(wheel))}
    for (name, version), component in sorted(found.items()):
        yield component | {"type": "library", "bom-ref": f"{wheel.name}#{name}@{version}"}


def _declared(wheel: Distribution) -> Iterator[Component]:
    """Yields the components of the SBOMs that came in the wheel (PEP 770)."""
    for file in wheel.files or []:
        if file.parent.name == "sboms" and file.name.endswith(".json"):
            for component in json.loads(file.read_text(encoding="utf-8")).get("components", []):
                if _key(component["name"]) != _key(wheel.name):
                    yield {key: component[key] for key in _KEPT if key in component}


def _shared(wheel: Distribution) -> Iterator[Component]:
    """Yields the wheel's shared libraries, with the version that their file names give.

    A library may lie there under several names (`libx.so`, `libx.so.2`, `libx.so.2.3.0`).
    """
    versions: dict[str, str] = {}
    for file in wheel.files or []:
        if match := _SHARED.fullmatch(file.name):
            name, version = match[1], match[2] or ""
            versions[name] = max(version, versions.get(name, ""), key=len)
    for name, version in versions.items():
        yield {"name": name, "version": version} if version else {"name": name}


def _debian(line: str) -> Component:
    qualified, version = line.split()
    name, _, architecture = qualified.partition(":")
    purl = f"pkg:deb/debian/{name}@{version}" + (f"?arch={architecture}" if architecture else "")
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--debian", type=Path)
    given = parser.parse_args()
    written = sbom(given.python, given.debian)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
