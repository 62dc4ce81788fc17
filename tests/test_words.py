"""Docstrings begin plainly: a module's with a sentence, a function's with a third-person verb."""

import ast
import re

import pytest

from tests.support.paths import ROOT

MODULES = sorted([*ROOT.glob("service/**/*.py"), *ROOT.glob("training/**/*.py")])
VERB = re.compile(r"(?:Is|See|[A-Z][\w-]*[^s\W]s)\b")
"""Returns, Reads, Is, or See for an inherited text; but neither Pass nor Process."""
EXEMPT = re.compile(r"property|validator|serializer|router\.|\.command|\.callback|overload")
"""Decorators of functions that callers see as a value, or users as a description."""


@pytest.fixture(scope="module")
def trees():
    return {path.relative_to(ROOT): ast.parse(path.read_bytes()) for path in MODULES}


def functions(body):
    """Yields the public functions and methods that are not exempt."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from functions(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = " ".join(map(ast.unparse, node.decorator_list))
            if not node.name.startswith("_") and not EXEMPT.search(decorators):
                yield node


def test_a_modules_docstring_begins_with_a_sentence(trees):
    lines = {path: (ast.get_docstring(tree) or "").split("\n")[0] for path, tree in trees.items()}
    wrong = [f"{path}: {line}" for path, line in lines.items() if not line.endswith(".")]
    assert not wrong, "\n".join(wrong)


def test_a_functions_docstring_begins_with_a_third_person_verb(trees):
    wrong = [
        f"{path}:{node.lineno} {node.name}: {text[:60]}"
        for path, tree in trees.items()
        for node in functions(tree.body)
        if (text := ast.get_docstring(node)) and not VERB.match(text)
    ]
    assert not wrong, "\n".join(wrong)
