"""Every command of docs/paper.md is one that eclip-train takes."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from tests.support.paths import ROOT
from training import cli
from training.data.sources import SOURCES
from training.data.subsets import SUBSETS
from training.evaluate import MEASURES
from training.recipe import load_recipe

PAGE = ROOT / "docs" / "paper.md"
LINES = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
]
NOT_OURS = {
    "constants.py",
    "chexpert_5x200.csv",
    "mimic_5x200_ids.csv",
    "candidate.csv",
    "query.csv",
}
"""Files that the reader of the page downloads into the folder of the commands."""
PROGRAM = typer.main.get_command(cli.cli)


def stand_in(path: Path) -> None:
    """Makes an empty file, or a folder, of that name, so that commands find it."""
    if path.suffix in (".parquet", ".json", ".py", ".csv"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    else:
        path.mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_page_is_understood(line, tmp_path, monkeypatch):
    name, command, *arguments = shlex.split(line)
    assert name == "eclip-train"
    monkeypatch.chdir(tmp_path)
    for word in arguments:
        if not word.startswith("-"):
            stand_in(Path(word))
    given = PROGRAM.commands[command].make_context(command, arguments).params
    if command == "data":
        assert given["name"] in SOURCES
        assert given["subset"] is None or given["subset"] in SUBSETS.keys() | NOT_OURS
    elif command == "evaluate":
        assert set(given["suite"].split(",")) <= set(MEASURES)
        labels = given["labels"]
        assert labels is None or str(labels) in NOT_OURS or (ROOT / labels).is_file()
    else:
        assert load_recipe(given["recipe"], given["overrides"] or [])


def test_what_a_command_reads_another_has_written():
    written, read = set(), set()
    for line in LINES:
        words = shlex.split(line)
        if "--out" in words:
            written.add(words[words.index("--out") + 1])
        elif words[1] == "shards" or words[1] == "fit":
            written.add(words[3])
        if words[1] == "evaluate":
            read |= {words[2], str(Path(words[3]).parent)}
        read |= {str(Path(w).parent) for w in words if w.endswith(".parquet") and "=" not in w}
        read |= {w.removeprefix("data.path=") for w in words if w == "data.path=shards"}
    assert len(read) > 10
    assert read <= written


def test_the_label_sets_that_the_page_names_are_there():
    sets = re.findall(r"--labels (\S+\.json) --label-set (\S+)", "\n".join(LINES))
    assert sets
    for path, name in sets:
        assert f'"{name}": {{' in (ROOT / path).read_text(encoding="utf-8")
