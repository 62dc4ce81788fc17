"""What `eclip index` takes for a PACS, and what it refuses."""

import json
import os
import sys
import threading

import pytest
import structlog

from service import cli, index_command
from service.cases.edge import EdgeStore
from service.pacs.address import parse_address
from tests.support.department import chest, image, uid_of
from tests.support.held_archive import HeldArchive

HOOKS = ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook"))
"""What a command sets for its whole process."""
ADDRESS = "dicomweb+http://127.0.0.1:9/dicom-web"
"""An address where nobody answers."""


@pytest.fixture
def index(tmp_path, monkeypatch, capsys):
    """Runs the command; returns its exit code, output and complaint."""
    monkeypatch.setenv("ECLIP_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(index_command, "err", index_command.Console(stderr=True, width=300))
    for module, hook in HOOKS:
        monkeypatch.setattr(module, hook, getattr(module, hook))
    mask = os.umask(0o022)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["eclip", "index", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, " ".join(said.err.split())

    yield run
    os.umask(mask)
    structlog.reset_defaults()


@pytest.fixture
def holds(monkeypatch):
    """Puts an archive in the place of the PACS at any address."""

    def hold(*files):
        archive = HeldArchive(files)
        monkeypatch.setattr(index_command, "open_archive", lambda *_: archive)
        return archive

    return hold


def test_graphs_are_built_once_all_studies_are_stored(index, tmp_path, monkeypatch):
    stored = []
    monkeypatch.setattr(EdgeStore, "build_graphs", lambda store: stored.append(store.count()))
    manifest = tmp_path / "studies.jsonl"
    manifest.write_text("".join(f'{{"study_id": "s{n}", "report": "Clear."}}\n' for n in range(40)))
    code, said, _ = index(manifest)
    assert (code, stored) == (0, [40])
    assert "40 studies" in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--where", "Modality=CR"], "'--where': It selects studies of a PACS"),
        (["--since", "2026-01-01"], "'--since': It selects studies of a PACS"),
    ],
)
def test_studies_of_a_folder_are_not_selected(index, tmp_path, arguments, complaint):
    code, _, said = index(tmp_path, *arguments)
    assert (code, complaint in said) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--where", "Modality"], "'--where': Write the keyword of a DICOM attribute"),
        (["--where", "Modality=CR,"], "'--where'"),
        (["--where", "Modallity=CR"], "'--where'"),
        (["--where", "Modality=CR", "--where", "Modality=DX"], "each attribute once"),
        (["--since", "yesterday"], "'--since': Write a day as 2026-01-31, or `last`"),
    ],
)
def test_a_wrong_question_is_a_usage_error(index, arguments, complaint):
    code, _, said = index(ADDRESS, *arguments)
    assert (code, complaint in said) == (2, True)


def test_a_path_that_does_not_exist_is_a_usage_error(index, tmp_path):
    code, _, said = index(tmp_path / "missing")
    assert (code, "does not exist" in said) == (2, True)


@pytest.mark.parametrize("scheme", ["dicomweb+https", "dicomweb+ftp", "dicomweb", "https"])
def test_a_wrong_address_is_not_quoted(index, scheme):
    code, _, said = index(f"{scheme}://user:secret@host/dicom-web")
    assert (code, "Wrong address of a PACS" in said, "secret" in said) == (2, True, False)


@pytest.mark.slow
def test_the_filter_reaches_the_archive_and_the_rejects_name_studies(index, tmp_path, holds):
    archive, rejects = holds(*chest(0), image(1, 0, BodyPartExamined="HAND")), "r.jsonl"
    where = ["--where", "ModalitiesInStudy=CR, DX", "--since", "2026-01-01"]
    code, said, complaint = index(ADDRESS, *where, "--rejects", tmp_path / rejects)
    assert (code, archive.wanted[0].where) == (1, {"ModalitiesInStudy": ["CR", "DX"]})
    assert "1 studies of this archive read into the library, 1 rejected" in said
    (line,) = (tmp_path / rejects).read_text().splitlines()
    assert json.loads(line)["place"] == uid_of(1)
    assert uid_of(1) not in said + complaint
    (ledger,) = (tmp_path / "var").glob("studies.*.pulled")
    assert ledger.stat().st_mode & 0o777 == 0o600
    code, said, _ = index(ADDRESS)
    assert (code, "1 studies that an earlier run rejected, unchanged" in said) == (0, True)


@pytest.mark.slow
def test_an_empty_library_knows_no_earlier_run(index, tmp_path, holds):
    archive = holds(*chest(0))
    for _ in range(2):
        assert "1 studies of this archive read" in index(ADDRESS)[1]
        (tmp_path / "var" / "studies").rename(tmp_path / f"{len(archive.wanted)}")


def test_an_archive_of_which_all_was_rejected_is_not_read_again(index, holds):
    """Its library is empty, as one that was removed."""
    archive = holds(image(1, 0, BodyPartExamined="HAND"))
    index(ADDRESS)
    code, said, _ = index(ADDRESS)
    assert (code, len(archive.fetched)) == (0, 1)
    assert "1 studies that an earlier run rejected, unchanged" in said


def test_an_address_has_one_ledger_in_whichever_form():
    assert index_command._text(parse_address(ADDRESS + "/")) == ADDRESS.partition("+")[2]
    assert index_command._text(parse_address("dimse://A@host:104")) == "A@host:104"
