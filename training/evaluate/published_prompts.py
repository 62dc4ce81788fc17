"""Reads prompts as authors publish them, from your own copy of their file.

GLoRIA (Huang et al. 2021, doi 10.1109/ICCV48922.2021.00391) keeps them in `gloria/constants.py`, a
Python file, and others copied its form. A dictionary whose name ends with `_CLASS_PROMPTS` maps
each class to lists of phrases: its severities, subtypes and locations. A prompt is one phrase of
each list, in the order in which the file has the lists. The project ships none of these phrases.

Example: `{"Edema": {"severity": ["", "mild"], "subtype": ["edema"], "location": [""]}}` gives
`edema` the prompts "edema" and "mild edema". The file is read as text and never run.

ConVIRT (Zhang et al. 2020, arXiv 2010.00747) has sentences in a table, `text-retrieval/query.csv`
with the columns Variable (a finding) and Text.
"""

import ast
from itertools import product
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from service.bundle.labels import Prompt, Prompts
from training.data.sources.table import rows
from training.data.study import DataError

_ENDING = "_CLASS_PROMPTS"
_Phrases = TypeAdapter(dict[str, dict[str, Annotated[list[str], Field(min_length=1)]]])


class Ensemble(Prompts):
    """Prompts of any number: GLoRIA combines 210 for atelectasis. A bundle holds 32 a label."""

    present: Annotated[tuple[Prompt, ...], Field(min_length=1)]
    absent: tuple[Prompt, ...] = ()


def read_published(path: Path) -> dict[str, dict[str, Ensemble]]:
    """Returns the label sets of a Python file or of a table, by the file's ending.

    Raises DataError for a file that is not of its form.
    """
    if path.suffix.lower() == ".py":
        return read_ensembles(path)
    return {path.stem: read_sentences(path)}


def read_sentences(path: Path) -> dict[str, Ensemble]:
    """Returns the labels of a table with the columns Variable and Text, in lower case.

    Raises DataError, with row and column, for a table that is not of this form.
    """
    sentences: dict[str, list[str]] = {}
    for row in rows(path, ("Variable", "Text")):
        label = " ".join(row.required("Variable").lower().split())
        sentences.setdefault(label, []).append(row.required("Text"))
    return _labels(path, sentences)


def read_ensembles(path: Path) -> dict[str, dict[str, Ensemble]]:
    """Returns the label sets of a Python file with phrases to combine.

    `CHEXPERT_CLASS_PROMPTS` becomes the set `chexpert`. Labels are the classes in lower case. The
    prompts of a class `No X` are the absent prompts of the class `X`. Raises DataError for a file
    that is not of this form.
    """
    tables = {
        name.removesuffix(_ENDING).lower(): _prompts(path, name, value)
        for name, value in _assigned(path)
        if name.endswith(_ENDING)
    }
    if not tables:
        raise DataError(
            f"{path.name} assigns no name that ends with {_ENDING}; give the file as its authors "
            "publish it"
        )
    return {name: _labels(path, prompts) for name, prompts in tables.items()}


def _assigned(path: Path) -> list[tuple[str, ast.expr]]:
    """Returns the names that the file assigns at its top, and to what."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{path.name} is not Python: {error}. Download the file again") from None
    return [
        (target.id, node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]


def _prompts(path: Path, name: str, value: ast.expr) -> dict[str, list[str]]:
    """Returns {class in lower case: prompts}."""
    try:
        classes = _Phrases.validate_python(ast.literal_eval(value))
    except (ValidationError, ValueError, TypeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise DataError(
            f"{path.name}: {name} is not a dictionary of classes, each with lists of phrases "
            f"({reason}). Download the file again"
        ) from None
    return {
        " ".join(each.lower().split()): [
            prompt
            for phrases in product(*lists.values())
            if (prompt := " ".join(" ".join(phrases).split()))
        ]
        for each, lists in classes.items()
    }


def _labels(path: Path, prompts: dict[str, list[str]]) -> dict[str, Ensemble]:
    denied = {f"no {label}" for label in prompts} & prompts.keys()
    labels = {}
    for label in (each for each in prompts if each not in denied):
        absent = prompts.get(f"no {label}", ())
        try:
            labels[label] = Ensemble(present=tuple(prompts[label]), absent=tuple(absent))
        except ValidationError as error:
            raise DataError(
                f"{path.name}, prompts of {label!r}: {error.errors()[0]['msg']}. Correct the file"
            ) from None
    return labels
