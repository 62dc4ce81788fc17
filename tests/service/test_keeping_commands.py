"""`eclip check`, `backup` and `restore` say what they found and did, by words and exit status."""

import os
import shutil
import sys
import threading
from datetime import UTC, datetime

import pytest
import structlog
from typer.testing import CliRunner

from service import backup_command, check_command, cli
from service.pacs.pull.ledger import Ledger, Pulled
from tests.support.library_writer import NAME, illustrated, open_library, put, reference

HOOKS = [(sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")]
"""What a command sets for its whole process."""


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    """A data directory with a library of four studies."""
    data_dir = tmp_path / "var"
    data_dir.mkdir()
    (data_dir / "identifiers.key").write_text("5a" * 32)
    monkeypatch.setenv("ECLIP_DATA_DIR", str(data_dir))
    for module in (backup_command, check_command):
        monkeypatch.setattr(module, "out", cli.Console(width=80))
    for module, hook in HOOKS:
        monkeypatch.setattr(module, hook, getattr(module, hook))
    library = open_library(data_dir)
    put(library, *map(reference, range(4)))
    library.store.close()
    mask = os.umask(0o022)
    yield data_dir
    os.umask(mask)
    structlog.reset_defaults()


def invoke(*arguments, code=0):
    result = CliRunner().invoke(cli.cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def fails(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["eclip", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    complaint = capsys.readouterr().err
    assert "Traceback" not in complaint
    return ended.value.code, " ".join(complaint.split())


def test_a_sound_library_is_said_to_be_sound():
    assert "4 studies are sound." in invoke("check")


def test_faults_are_shown_with_their_studies_and_repaired_by_name(data_dir):
    lost = illustrated(reference(1)).study.images[0].rendition
    (data_dir / "renditions" / NAME / lost[:2] / f"{lost}.jpg").unlink()
    shown = invoke("check", code=1)
    assert "--repair missing-renditions" in shown
    assert reference(1) in shown
    assert "orphaned" not in shown
    assert "Repaired:" in invoke("check", "--repair", "missing-renditions", code=1)
    assert "unfinished-studies" in invoke("check", code=1)
    invoke("check", "--repair", "missing-parts", "--repair", "unfinished-studies", code=1)
    assert "3 studies are sound." in invoke("check")


def test_a_library_without_its_key_is_not_sound(data_dir, monkeypatch, capsys):
    (data_dir / "identifiers.key").unlink()
    code, complaint = fails(monkeypatch, capsys, "check")
    assert code == 1
    assert "identifiers.key is missing: restore it from a backup" in complaint


def test_a_study_that_is_repaired_is_pulled_again_and_no_other(data_dir):
    lost = illustrated(reference(1)).study.images[0].rendition
    (data_dir / "renditions" / NAME / lost[:2] / f"{lost}.jpg").unlink()
    pulled = [Pulled(reference(number), "txt_a", "stored") for number in range(4)]
    ledgers = [Ledger(data_dir / f"{name}.pulled", "") for name in (f"{NAME}.ab", f"{NAME}.cd")]
    for ledger in ledgers:
        ledger.add(pulled)
        ledger.complete("txt_cr", datetime.now(UTC))
    invoke("check", code=1)
    assert [ledger.state(reference(1), "txt_a") for ledger in ledgers] == ["stored"] * 2
    invoke("check", "--repair", "missing-renditions", code=1)
    for ledger in ledgers:
        states = [ledger.state(each.study, "txt_a") for each in pulled]
        assert states == ["stored", None, "stored", "stored"]
        assert ledger.last_complete("txt_cr") is None
        ledger.close()


def test_an_unknown_kind_of_fault_is_a_usage_error():
    assert "orphaned-points" in invoke("check", "--repair", "everything", code=2)


def test_a_library_that_is_missing_or_cannot_be_opened_is_said(data_dir, monkeypatch, capsys):
    for segment in (data_dir / NAME / "collection").glob("**/segments"):
        shutil.rmtree(segment)
        segment.write_text("")
    code, complaint = fails(monkeypatch, capsys, "check")
    assert code == 1
    assert "Case store unavailable" in complaint
    monkeypatch.setenv("ECLIP_COLLECTION", "none")
    for arguments in (("check",), ("backup", data_dir.parent / "backups")):
        code, complaint = fails(monkeypatch, capsys, *arguments)
        assert code == 1
        assert "no case library" in complaint


def test_a_backup_is_brought_back_into_an_empty_directory_alone(monkeypatch, capsys, tmp_path):
    invoke("backup", tmp_path / "backups")
    (backup,) = (tmp_path / "backups").iterdir()
    code, complaint = fails(monkeypatch, capsys, "restore", backup)
    assert code == 1
    assert "not empty" in complaint
    monkeypatch.setenv("ECLIP_DATA_DIR", str(tmp_path / "restored"))
    assert "Restored." in invoke("restore", backup)
    assert "4 studies are sound." in invoke("check")


def test_a_qdrant_server_makes_its_own_snapshots(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("ECLIP_QDRANT_URL", "http://127.0.0.1:1")
    code, complaint = fails(monkeypatch, capsys, "backup", tmp_path / "backups")
    assert code == 1
    assert "makes snapshots" in complaint
    assert not (tmp_path / "backups").exists()
