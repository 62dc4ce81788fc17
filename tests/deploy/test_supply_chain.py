"""What enters an environment or the image is pinned, hashed and listed."""

import re
import tomllib
import venv
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from PIL import features

from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HASHED = [ROOT / "constraints.txt", *sorted((ROOT / "deploy" / "pins").glob("*.txt"))]
DIGEST = re.compile(r"\S+:\S+@sha256:[0-9a-f]{64}")


def key(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(file):
    """Returns what a file pins on this machine: name → requirement and the number of its hashes."""
    lines = file.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    pins = {}
    for line in filter(re.compile(r"[^#]").match, lines):
        named, *hashes = line.split("--hash=")
        requirement = Requirement(named)
        if requirement.marker is None or requirement.marker.evaluate():
            assert key(requirement.name) not in pins
            pins[key(requirement.name)] = requirement, len(hashes)
    return pins


ALL = pinned(ROOT / "constraints.txt")


@pytest.mark.parametrize("file", HASHED, ids=lambda file: file.name)
def test_each_package_has_one_version_and_its_hashes(file):
    for requirement, hashes in pinned(file).values():
        (only,) = requirement.specifier
        assert only.operator == "==", requirement
        assert hashes, requirement


@pytest.mark.parametrize("name", ["cpu", "gpu", "build", "sbom", "litserve"])
def test_all_environments_take_the_same_versions(name):
    for package, (requirement, _) in pinned(ROOT / "deploy" / "pins" / f"{name}.txt").items():
        if package in ALL:
            assert requirement.specifier == ALL[package][0].specifier


@pytest.mark.parametrize(
    ("file", "extras"),
    [
        ("constraints", ("cpu", "bulk", "train", "test")),
        ("deploy/pins/cpu", ("cpu",)),
        ("deploy/pins/gpu", ("gpu",)),
    ],
)
def test_the_pins_hold_what_the_project_asks_for(file, extras):
    optional = PROJECT["project"]["optional-dependencies"]
    asked = {
        *PROJECT["project"]["dependencies"],
        *(name for extra in extras for name in optional[extra]),
    }
    assert {key(Requirement(one).name) for one in asked} <= pinned(ROOT / f"{file}.txt").keys()


def test_the_build_takes_the_pinned_backend():
    (backend,) = map(Requirement, PROJECT["build-system"]["requires"])
    assert (
        backend.specifier
        == pinned(ROOT / "deploy" / "pins" / "build.txt")["hatchling"][0].specifier
    )


def test_what_vllm_needs_has_one_version():
    file = ROOT / "deploy" / "vllm-cpu" / "constraints.txt"
    assert len(pinned(file)) > 100
    for requirement, _ in pinned(file).values():
        assert [only.operator for only in requirement.specifier] == ["=="]


def test_each_image_that_is_not_ours_is_named_by_its_digest():
    dockerfile = (ROOT / "deploy" / "service.Dockerfile").read_text(encoding="utf-8")
    (base,) = re.findall(r"^ARG BASE=(\S+)$", dockerfile, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", dockerfile, re.MULTILINE)
    own = {name for _, name in stages}
    assert {source for source, _ in stages} - own == {"${BASE}"}
    composed = [ROOT / "docker-compose.yml", ROOT / "deploy" / "compose.gpu.yaml"]
    services = [yaml.safe_load(file.read_text())["services"] for file in composed]
    images = {service["image"] for each in services for service in each.values()}
    for image in {base, *images} - {"eclip", "eclip:gpu"}:
        assert DIGEST.fullmatch(image), image


def test_the_licence_of_pillow_is_not_the_gpl():
    """Its SBOM names libimagequant (GPL-3.0) as optional; the wheel is built without it."""
    assert not features.check("libimagequant")


@pytest.mark.slow
def test_the_sbom_lists_each_package_and_the_native_libraries_in_its_wheel(tmp_path):
    """Of an environment with three packages, whose files stay where they are."""
    from deploy.sbom import sbom  # here, because it takes a second that `make check` need not spend

    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    for name in ("python-gdcm", "qdrant-edge-py", "rich"):
        information = Path(str(distribution(name).locate_file("."))) / distribution(name)._path.name
        (packages / information.name).symlink_to(information)
    debian = tmp_path / "packages.txt"
    debian.write_text("libc6:amd64\t2.41-12\nbash\t5.2.37-2\n")
    document = sbom(environment / "bin" / "python", debian)
    listed = {one["name"]: one for one in document["components"]}
    assert {one["purl"].partition("?")[0] for one in listed.values()} == {
        *(f"pkg:pypi/{name}@{version(name)}" for name in ("python-gdcm", "qdrant-edge-py", "rich")),
        "pkg:deb/debian/libc6@2.41-12",
        "pkg:deb/debian/bash@5.2.37-2",
    }
    within = {one["name"]: one.get("version") for one in listed["python-gdcm"]["components"]}
    assert within["libssl"] == within["libcrypto"] == "1.1.1k"
    assert (within["libgdcmexpat"], within["libgdcmopenjp2"]) == ("2.0.0", "2.3.0")
    assert any(one["name"] == "tokio" for one in listed["qdrant-edge-py"]["components"])
