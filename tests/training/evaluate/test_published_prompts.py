import json

import pytest

from training.data.study import DataError
from training.evaluate.published_prompts import read_ensembles, read_published, read_sentences

CONSTANTS = '''"""As authors publish it: other constants, and two tables."""
from pathlib import Path

DATA_DIR = Path("/nowhere") / "data"
CHEXPERT_TASKS = ["Edema"]

CHEXPERT_CLASS_PROMPTS = {
    "Edema": {
        "severity": ["", "mild"],
        "subtype": ["one edema", "another edema"],
        "location": [""],
    },
    "Pleural Effusion": {
        "severity": ["", "small"],
        "location": ["left"],
        "subtype": ["effusion", "effusion"],
    },
}

RSNA_CLASS_PROMPTS = {
    "Pneumonia": {"findings": ["opacity"], "severity": ["mild"], "descriptors": ["here", ""]},
    "No Pneumonia": {"normal_findings": ["Clear.", "Nothing seen."]},
}
'''


@pytest.fixture
def written(tmp_path):
    def write(text, name="constants.py"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_phrases_are_combined_in_the_order_of_the_file(written):
    sets = read_ensembles(written(CONSTANTS))
    assert list(sets) == ["chexpert", "rsna"]
    assert sets["chexpert"]["edema"].present == (
        "one edema",
        "another edema",
        "mild one edema",
        "mild another edema",
    )
    effusion = ("left effusion",) * 2 + ("small left effusion",) * 2
    assert sets["chexpert"]["pleural effusion"].present == effusion


def test_a_class_that_denies_another_gives_its_absent_prompts(written):
    (label,) = read_ensembles(written(CONSTANTS))["rsna"].items()
    name, prompts = label
    assert name == "pneumonia"
    assert prompts.present == ("opacity mild here", "opacity mild")
    assert prompts.absent == ("Clear.", "Nothing seen.")


def test_there_may_be_more_prompts_than_a_bundle_holds(written):
    """GLoRIA's atelectasis: 3 severities, 7 subtypes and 10 locations."""
    lists = {
        name: [f"{name}{n}" for n in range(count)]
        for name, count in zip("abc", (3, 7, 10), strict=True)
    }
    text = f"X_CLASS_PROMPTS = {json.dumps({'Atelectasis': lists})}"
    prompts = read_ensembles(written(text))["x"]["atelectasis"].present
    assert len(set(prompts)) == 210
    assert prompts[0] == "a0 b0 c0"


def test_the_file_is_never_run(written, tmp_path):
    trap = tmp_path / "run"
    text = f"open({str(trap)!r}, 'w')\n{CONSTANTS}"
    assert read_ensembles(written(text))
    assert not trap.exists()
    with pytest.raises(DataError, match="X_CLASS_PROMPTS is not a dictionary of classes"):
        read_ensembles(written(f"X_CLASS_PROMPTS = open({str(trap)!r}, 'w')"))
    assert not trap.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "constants.py assigns no name that ends with _CLASS_PROMPTS"),
        ("x = (", "constants.py is not Python: "),
        ("\0", "constants.py is not Python: "),
        (f"x = {'-' * 20_000}1", "constants.py is not Python: "),
        ("X_CLASS_PROMPTS = {'a': ['b']}", "X_CLASS_PROMPTS is not a dictionary of classes"),
        ("X_CLASS_PROMPTS = {[]: 1}", "X_CLASS_PROMPTS is not a dictionary of classes"),
        ("X_CLASS_PROMPTS = {'a': {'b': []}}", "X_CLASS_PROMPTS is not a dictionary of classes"),
        ("X_CLASS_PROMPTS = {'a': {'b': ['']}}", "constants.py, prompts of 'a': .*at least 1 item"),
        ("X_CLASS_PROMPTS = {'a': {'b': ['c' * 600]}}", "X_CLASS_PROMPTS is not a dictionary"),
        (f"X_CLASS_PROMPTS = {{'a': {{'b': ['{'c' * 600}']}}}}", "at most 512 characters"),
    ],
)
def test_a_file_of_another_form_is_refused(written, text, said):
    with pytest.raises(DataError, match=said):
        read_ensembles(written(text))


def test_sentences_of_a_table_are_one_label_set(written):
    table = 'Variable,Text\nEdema,One edema.\nNo Finding,Clear.\nEdema,"Another, edema."\n'
    (name,) = read_published(written(table, "query.csv"))
    assert name == "query"
    labels = read_sentences(written(table, "query.csv"))
    assert labels["edema"].present == ("One edema.", "Another, edema.")
    assert labels["no finding"].present == ("Clear.",)
    assert list(read_published(written(CONSTANTS))) == ["chexpert", "rsna"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("Variable\nEdema\n", "query.csv has no column Text"),
        ("Variable,Text\nEdema,\n", "query.csv, row 2, column Text: the cell is blank"),
        (f"Variable,Text\nEdema,{'c' * 600}\n", "query.csv, prompts of 'edema': .*at most 512 c"),
    ],
)
def test_a_table_of_another_form_is_refused(written, table, said):
    with pytest.raises(DataError, match=said):
        read_sentences(written(table, "query.csv"))
