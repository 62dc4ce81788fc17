"""The README's commands run as written, and its output is what they print."""

import json
import re
import subprocess

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- run -->\n```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
SHOWN = re.search(r"<!-- shortened -->\n```json\n(.*?)```", README, re.DOTALL)


def run(command, server):
    """Run one line of the README, against the test's own server."""
    here = command.replace("http://127.0.0.1:8000", server.url)
    assert here != command
    done = subprocess.run(
        ["sh", "-c", here], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_answers(server, command):
    assert "bundle" in run(command, server)


def test_the_shown_report_is_a_part_of_the_real_one(server):
    shown, real = json.loads(SHOWN[1]), json.loads(run(COMMANDS[0], server))
    assert shown["abstained"] == real["abstained"]
    for section, sentences in shown["report"].items():
        assert sentences
        for sentence in sentences:
            match = [s for s in real["report"][section] if s["sentence"] == sentence["sentence"]]
            assert match
            assert set(sentence["evidence"]) <= set(match[0]["evidence"])
            assert sentence.keys() == match[0].keys()
    texts = {item["number"]: item["text"] for item in real["evidence"]}
    shown_evidence = {item["number"]: item["text"] for item in shown["evidence"]}
    assert shown_evidence.items() <= texts.items()
    cited = {n for s in shown["report"].values() for one in s for n in one["evidence"]}
    assert cited == set(shown_evidence)


def test_every_local_link_leads_somewhere():
    links = re.findall(r"\]\(([^)#]+)", README)
    assert links
    for link in links:
        assert link.startswith("http") or (ROOT / link).exists(), link
