import json
import os
import re
import shutil
import sys
import threading
from types import SimpleNamespace
from unittest.mock import ANY

import pytest
import structlog
from typer.testing import CliRunner

from service import cli, index_command
from service.cases.edge import EdgeStore
from service.settings import DEMO, DEMO_BUNDLE
from tests.support.changed_bundles import image_only
from tests.support.pictures import file_of, hand

REPORTS = {
    "s1": "FINDINGS: Small left pleural effusion. No pneumothorax. IMPRESSION: Effusion.",
    "s2": "FINDINGS: The lungs are clear. IMPRESSION: Normal chest radiograph.",
    "s3": "FINDINGS: Moderate cardiomegaly. IMPRESSION: Cardiomegaly.",
}

HOOKS = [(sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")]
"""What a command sets for its whole process."""


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("ECLIP_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "200")
    for module in (cli, index_command):
        monkeypatch.setattr(module, "out", cli.Console(width=200))
    for module, hook in HOOKS:
        monkeypatch.setattr(module, hook, getattr(module, hook))
    mask = os.umask(0o022)
    yield tmp_path / "var"
    os.umask(mask)
    structlog.reset_defaults()


@pytest.fixture
def manifest(tmp_path, radiograph):
    """Three studies, one with an image, as a user would write them."""
    (tmp_path / "s1.png").write_bytes(radiograph)
    path = tmp_path / "studies.jsonl"
    records = [
        {"study_id": name, "patient_id": f"p-{name}", "report": report}
        for name, report in REPORTS.items()
    ]
    records[0]["images"] = ["s1.png"]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def invoke(*arguments, code=0):
    result = CliRunner().invoke(cli.cli, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def fails(monkeypatch, capsys, *arguments):
    """Run the installed command; returns its exit code and its complaint."""
    monkeypatch.setattr(sys, "argv", ["eclip", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    complaint = capsys.readouterr().err
    assert "Traceback" not in complaint
    return ended.value.code, " ".join(complaint.split())


@pytest.mark.slow
def test_studies_are_indexed_searched_and_cited(manifest):
    assert "3 studies of this source in the library, 0 rejected" in invoke("index", manifest)
    assert "3 studies of this source in the library, 0 rejected" in invoke("index", manifest)
    by_text = invoke("search", REPORTS["s3"], "--k", "1")
    assert "Moderate cardiomegaly." in by_text
    assert "1.000" in by_text
    for mode in ("sparse", "hybrid"):
        assert "Moderate cardiomegaly." in invoke("search", "cardiomegaly", "--mode", mode)
    assert "Moderate cardiomegaly." in invoke("search", f"{REPORTS['s3']} " * 20, "--k", "1")
    assert "image" in invoke("search", DEMO / "radiograph.png", "--target", "image")
    invoke("search", " ", "--mode", "sparse", code=1)
    for whose in (("--patient-id", "p-s1"), ("--prior-study-id", "s1")):
        written = invoke("report", DEMO / "radiograph.png", *whose)
        assert "FINDINGS" in written
        assert "effusion" not in written.lower()


def test_the_log_says_where_the_time_of_indexing_went(manifest, monkeypatch):
    logged = {}
    logger = SimpleNamespace(info=lambda event, **fields: logged.update({event: fields}))
    monkeypatch.setattr(index_command, "log", lambda: logger)
    invoke("index", manifest)
    assert logged["source"]["studies"] == logged["indexed"]["studies"] == 3
    assert logged["indexed"]["waited_for"] in {"reading", "decoding", "encoding", "writing"}


def test_a_usage_error_names_the_option():
    for command in (("search", "effusion"), ("report", DEMO / "radiograph.png")):
        assert "Invalid value for '--k'" in invoke(*command, "--k", "101", code=2)
    for image in (("search", DEMO / "radiograph.png"), ("search", "cat", "--target", "image")):
        assert "Invalid value for '--mode'" in invoke(*image, "--mode", "sparse", code=2)


@pytest.mark.slow
def test_a_report_is_written_again_from_the_audit_log(manifest, monkeypatch, capsys):
    invoke("index", manifest)
    shown = invoke("report", DEMO / "radiograph.png", "--indication", "Cough.")
    record = re.search(r"Audit record (\S+)\.", shown).group(1)
    again = ("report", "--replay", record, "--indication", "Cough.")
    assert "The report is the same." in invoke(*again)
    manifest.write_text(json.dumps({"study_id": "s2", "report": "FINDINGS: A nodule."}))
    invoke("index", manifest)
    assert "were changed or deleted" in invoke(*again, code=1)
    code, complaint = fails(monkeypatch, capsys, "report", "--replay", record)
    assert (code, "indication" in complaint) == (1, True)
    invoke("report", code=2)


@pytest.mark.slow
def test_a_report_as_json_is_the_only_output(manifest):
    invoke("index", manifest)
    result = CliRunner().invoke(cli.cli, ["report", str(DEMO / "radiograph.png"), "--json"])
    body = json.loads(result.stdout)
    numbers = {item["number"] for item in body["evidence"]}
    assert body["findings"]
    assert all(set(sentence["evidence"]) <= numbers for sentence in body["findings"])


@pytest.mark.slow
def test_brackets_in_a_report_are_its_words_and_no_markup(tmp_path):
    path = tmp_path / "studies.jsonl"
    report = "FINDINGS: Small [left] effusion [/REDACTED]. IMPRESSION: [bold] Effusion."
    path.write_text(json.dumps({"study_id": "s1", "report": report, "findings": ["[left]"]}))
    invoke("index", path)
    found = invoke("search", "effusion")
    written = invoke("report", DEMO / "radiograph.png")
    for shown in (found, written):
        assert "Small [left] effusion [/REDACTED]." in shown
    assert "[bold] Effusion." in written


@pytest.mark.slow
def test_a_patient_is_erased_from_the_audit_log(manifest, data_dir, monkeypatch, capsys):
    invoke("index", manifest)
    shown = invoke("report", DEMO / "radiograph.png")
    assert "Small left pleural effusion." in shown

    def audit():
        return "".join(path.read_text() for path in (data_dir / "audit").iterdir())

    assert "Small left pleural effusion." in audit()
    assert "0 records removed; 1 records of other" in " ".join(
        invoke("audit", "erase", "p-s1").split()
    )
    assert "Small left pleural effusion." not in audit()
    invoke("report", DEMO / "radiograph.png", "--patient-id", "p-s3")
    assert "1 records removed; 1 records" in invoke("audit", "erase", "p-s3", "--study", "s3")
    assert "cardiomegaly" not in audit().lower()
    invoke("audit", "erase", code=2)
    (data_dir / "identifiers.key").unlink()
    code, complaint = fails(monkeypatch, capsys, "audit", "erase", "p-s1")
    assert (code, "identifiers.key is missing" in complaint) == (1, True)


def test_the_console_names_no_file(monkeypatch, capsys, tmp_path):
    """What it shows may be a container's log. The file of --rejects names them, for its owner."""
    folder, rejects = tmp_path / "folder", tmp_path / "rejects.jsonl"
    folder.mkdir()
    (folder / "Doe-Jane.jpg").write_bytes(b"no image")
    code, complaint = fails(monkeypatch, capsys, "index", folder, "--rejects", rejects)
    assert (code, "study 1: The bytes are neither" in complaint) == (1, True)
    assert "Jane" not in complaint
    assert json.loads(rejects.read_text())["place"] == "Doe-Jane.jpg"
    assert rejects.stat().st_mode & 0o777 == 0o600


def test_a_data_directory_that_is_a_file_is_an_error_in_words(monkeypatch, capsys, manifest):
    monkeypatch.setenv("ECLIP_DATA_DIR", str(manifest))
    code, complaint = fails(monkeypatch, capsys, "index", manifest)
    assert (code, "File exists." in complaint) == (1, True)
    assert str(manifest) not in complaint


def test_a_setting_that_is_not_json_is_an_error_in_words(monkeypatch, capsys, manifest):
    monkeypatch.setenv("ECLIP_API_KEYS", "a secret")
    code, complaint = fails(monkeypatch, capsys, "index", manifest)
    assert (code, complaint[:45]) == (2, "Setting ECLIP_API_KEYS: It is not JSON. Write")
    assert "secret" not in complaint


@pytest.mark.parametrize(
    "command",
    [
        ("serve",),
        ("index", DEMO_BUNDLE),
        ("copy", "elsewhere"),
        ("search", "effusion"),
        ("report", DEMO / "radiograph.png"),
        ("bundle",),
        ("erase",),
        ("audit", "erase", "p-s1"),
        ("keys", "list"),
    ],
)
def test_no_command_passes_over_a_misspelt_setting(monkeypatch, capsys, data_dir, command):
    monkeypatch.delenv("ECLIP_DATA_DIR")
    monkeypatch.setenv("ECLIP_DATADIR", str(data_dir))
    code, complaint = fails(monkeypatch, capsys, *command)
    assert (code, "ECLIP_DATADIR. Did you mean ECLIP_DATA_DIR?" in complaint) == (2, True)


def test_every_command_closes_the_data_and_logs_json(monkeypatch, capsys, data_dir):
    audit = data_dir / "audit"
    audit.mkdir(parents=True, mode=0o755)
    for command in (("erase",), ("audit", "erase", "p-s1")):
        audit.chmod(0o755)
        structlog.reset_defaults()
        assert fails(monkeypatch, capsys, *command)[0] == 1
        assert audit.stat().st_mode & 0o777 == 0o700
        assert structlog.is_configured()


def test_rejected_lines_are_named_by_number_and_end_with_1(manifest, monkeypatch, capsys):
    with manifest.open("a") as lines:
        lines.write('{"study_id": "s4"}\nnot json\n{"study_id": "s5", "images": ["../x.png"]}\n')
    code, complaint = fails(monkeypatch, capsys, "index", manifest)
    assert code == 1
    for line in (4, 5, 6):
        assert f"line {line}:" in complaint


@pytest.mark.slow
def test_a_files_name_is_in_the_file_of_rejects_alone(tmp_path, monkeypatch, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "Doe-Jane.png").write_bytes(b"no picture")
    rejects = tmp_path / "rejects.jsonl"
    code, complaint = fails(monkeypatch, capsys, "index", tmp_path / "images", "--rejects", rejects)
    assert code == 1
    assert "study 1: " in complaint
    assert "Doe" not in complaint
    assert "Doe-Jane.png" in rejects.read_text()


@pytest.mark.slow
def test_what_is_rejected_can_be_written_to_a_file(manifest, monkeypatch, capsys, tmp_path):
    with manifest.open("a") as lines:
        lines.write("not json\n")
    fails(monkeypatch, capsys, "index", manifest, "--rejects", tmp_path / "rejects.jsonl")
    (line,) = (tmp_path / "rejects.jsonl").read_text().splitlines()
    assert json.loads(line) == {"number": 4, "place": "line 4", "reason": ANY}


def test_rejects_that_cannot_be_written_are_a_usage_error(manifest, monkeypatch, capsys, tmp_path):
    gone = tmp_path / "gone" / "rejects.jsonl"
    code, complaint = fails(monkeypatch, capsys, "index", manifest, "--rejects", gone)
    assert code == 2
    assert "No such file" in complaint


@pytest.mark.slow
def test_a_library_is_copied_into_another_place(manifest, monkeypatch, data_dir, tmp_path):
    invoke("index", manifest)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "identifiers.key").write_bytes((data_dir / "identifiers.key").read_bytes())
    monkeypatch.setenv("ECLIP_DATA_DIR", str(tmp_path / "new"))
    copied = invoke("copy", data_dir / "studies")
    assert "3 studies copied, 0 rejected" in copied
    assert "3 of 3 searches find the same ten studies in both" in copied
    assert "Moderate cardiomegaly." in invoke("search", REPORTS["s3"], "--k", "1")
    assert "0 studies copied, 0 rejected" in invoke("copy", data_dir / "studies")


@pytest.mark.slow
def test_a_copy_builds_graphs_once_all_studies_are_stored(manifest, monkeypatch, data_dir):
    invoke("index", manifest)
    stored = []
    monkeypatch.setattr(EdgeStore, "build_graphs", lambda store: stored.append(store.count()))
    monkeypatch.setenv("ECLIP_COLLECTION", "another")
    invoke("copy", data_dir / "studies")
    assert stored == [3]


@pytest.mark.slow
def test_a_copy_that_cannot_be_made_leaves_nothing_behind(
    manifest, monkeypatch, capsys, data_dir, tmp_path
):
    invoke("index", manifest)
    new = tmp_path / "new"
    monkeypatch.setenv("ECLIP_DATA_DIR", str(new))
    code, complaint = fails(monkeypatch, capsys, "copy", data_dir / "studies")
    assert (code, "the same identifiers.key" in complaint) == (1, True)
    assert not new.exists()
    new.mkdir()
    (new / "identifiers.key").write_text("ab" * 32)
    code, complaint = fails(monkeypatch, capsys, "copy", data_dir / "studies")
    assert (code, "the same identifiers.key" in complaint) == (1, True)
    assert [path.name for path in new.iterdir()] == ["identifiers.key"]


@pytest.mark.slow
def test_a_key_that_is_gone_is_said_to_be_missing(manifest, monkeypatch, capsys, data_dir):
    invoke("index", manifest)
    (data_dir / "identifiers.key").unlink()
    for command in (("index", manifest), ("copy", data_dir / "studies")):
        code, complaint = fails(monkeypatch, capsys, *command)
        assert code == 1
        assert "identifiers.key is missing: restore it from a backup" in complaint
    assert not (data_dir / "identifiers.key").exists()


@pytest.mark.slow
def test_a_folder_of_radiographs_is_indexed(monkeypatch, capsys, tmp_path):
    (tmp_path / "images").mkdir()
    for path in sorted((DEMO / "library" / "images").iterdir())[:3]:
        shutil.copy(path, tmp_path / "images")
    assert "3 studies of this source in the library, 0 rejected" in invoke(
        "index", tmp_path / "images"
    )
    code, complaint = fails(monkeypatch, capsys, "index", DEMO / "radiograph.png")
    assert code == 1
    assert (
        "Unreadable source: Cannot read studies from a file of this kind. Give a folder, or a "
        "file .jsonl" in complaint
    )


def test_what_is_passed_over_is_counted_with_the_reason(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("._1.png", ".DS_Store", "notes.md"):
        (tmp_path / "images" / name).write_bytes(b"no study")
    shutil.copy(DEMO / "radiograph.png", tmp_path / "images")
    shown = invoke("index", tmp_path / "images", "--rejects", tmp_path / "rejects.jsonl")
    assert "1 studies of this source in the library, 0 rejected" in shown
    assert "Passed over: 1 files of other kinds, 2 hidden files" in shown
    assert (tmp_path / "rejects.jsonl").read_text() == ""


def test_a_bundle_is_verified_and_shown():
    shown = invoke("bundle", DEMO_BUNDLE)
    assert "phantom-demo 2" in shown
    assert "image.onnx" in shown
    assert "verified" in shown


def test_a_users_mistake_is_explained_without_a_traceback(manifest, monkeypatch, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    code, complaint = fails(monkeypatch, capsys, "bundle", tmp_path / "empty")
    assert (code, complaint) == (
        1,
        "Corrupt bundle: bundle.json cannot be read: No such file or directory. Name a bundle's "
        "directory.",
    )
    code, complaint = fails(monkeypatch, capsys, "report", manifest)
    assert code == 1
    assert "Unsupported image: The bytes are neither PNG, JPEG nor DICOM." in complaint
    monkeypatch.setenv("ECLIP_COLLECTION", "a b")
    code, complaint = fails(monkeypatch, capsys, "bundle")
    assert code == 2
    assert complaint.startswith("Setting ECLIP_COLLECTION:")
    assert "[A-Za-z0-9_-]" in complaint


def test_no_report_is_written_of_a_hand(manifest, monkeypatch, capsys, tmp_path):
    invoke("index", manifest)
    (tmp_path / "hand.png").write_bytes(file_of(hand(0)))
    code, complaint = fails(monkeypatch, capsys, "report", tmp_path / "hand.png")
    assert code == 1
    assert "Not a radiograph: A dark ground fills" in complaint


@pytest.mark.slow
def test_only_one_process_at_a_time_has_the_library(manifest, monkeypatch, capsys, serve, data_dir):
    data_dir.mkdir()
    with serve(data_dir):
        code, complaint = fails(monkeypatch, capsys, "index", manifest)
    assert code == 1
    assert "Another process has this case library open" in complaint


@pytest.mark.slow
def test_what_was_deleted_is_erased_and_images_of_no_study_are_removed(manifest, data_dir):
    invoke("index", manifest)
    store = EdgeStore.existing(data_dir / "studies")
    store.delete(next(store.studies()).study.study_id)
    store.close()
    orphan = data_dir / "renditions" / "studies" / "ab" / "ab12.jpg"
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"jpeg")
    assert "images that no study has were removed" in invoke("erase")
    assert not orphan.exists()
    state = data_dir / "studies" / "collection" / "erasure.json"
    assert json.loads(state.read_text())["due_since"] is None


def test_the_files_of_a_qdrant_server_are_its_own(monkeypatch, capsys):
    monkeypatch.setenv("ECLIP_QDRANT_URL", "http://127.0.0.1:1")
    code, complaint = fails(monkeypatch, capsys, "erase")
    assert code == 1
    assert "keeps its own files" in complaint


@pytest.mark.slow
def test_a_bundle_of_images_alone_indexes_and_searches_a_folder(
    tmp_path, manifest, radiograph, monkeypatch, capsys
):
    image_only(shutil.copytree(DEMO_BUNDLE, tmp_path / "bundle"))
    monkeypatch.setenv("ECLIP_BUNDLE", str(tmp_path / "bundle"))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "chest.png").write_bytes(radiograph)
    (folder / "chest.txt").write_text(REPORTS["s1"])
    for source, studies in ((manifest, 3), (folder, 1)):
        said = f"{studies} studies of this source in the library, 0 rejected"
        assert said in invoke("index", source)
        assert said in invoke("index", source)
    assert "Moderate cardiomegaly." in invoke("search", "cardiomegaly", "--mode", "sparse")
    assert "1.000" in invoke("search", tmp_path / "s1.png", "--target", "image")
    assert "tokens" not in invoke("bundle")
    for command in (["search", "cardiomegaly"], ["report", tmp_path / "s1.png"]):
        code, complaint = fails(monkeypatch, capsys, *command)
        assert (code, "no text model" in complaint) == (1, True)
