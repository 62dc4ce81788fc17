#!/usr/bin/env bash
# XGrammar, which vLLM uses for structured outputs, lets a model write white space without end.
#
# Expected: the grammar of a JSON schema allows JSON, with a little space to read it by.
# Happens: by default any run of blanks and line ends is allowed between tokens: an answer may be
#   10,000 line ends long and still be on its way. any_whitespace=False allows one layout: a blank
#   after each comma and colon. The compact JSON of json.dumps(separators=(",", ":")) is then
#   refused, unless separators are given too.
# Why it matters: small models like line ends. A report then ends at max_tokens, in the middle of a
#   run of blanks, and is no JSON; or it takes four times the tokens.
# What we do: vLLM is started with disable_any_whitespace (docker-compose.yml, Makefile).
#
# Seen:
#   xgrammar 0.2.9
#   default: ['compact', 'a blank after commas and colons', '10,000 line ends']
#   any_whitespace=False: ['a blank after commas and colons']
#   any_whitespace=False, compact separators: ['compact']
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  xgrammar==0.2.9 torch==2.15.0 transformers==5.24.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import json
import sys
from importlib.metadata import version

from xgrammar import Grammar
from xgrammar.testing import _is_grammar_accept_string as accepts


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


REPORT = {"impression": "Normal.", "cited": [1, 2]}
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "impression": {"type": "string"},
            "cited": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["impression", "cited"],
        "additionalProperties": False,
    }
)
COMPACT = (",", ":")
TEXTS = {
    "compact": json.dumps(REPORT, separators=COMPACT),
    "a blank after commas and colons": json.dumps(REPORT),
    "10,000 line ends": json.dumps(REPORT).replace("{", "{" + "\n" * 10_000),
}
GRAMMARS = {
    "default": Grammar.from_json_schema(SCHEMA),
    "any_whitespace=False": Grammar.from_json_schema(SCHEMA, any_whitespace=False),
    "any_whitespace=False, compact separators": Grammar.from_json_schema(
        SCHEMA, any_whitespace=False, separators=COMPACT
    ),
}
print("xgrammar", version("xgrammar"))
allowed = {
    name: [text for text, json_text in TEXTS.items() if accepts(grammar, json_text)]
    for name, grammar in GRAMMARS.items()
}
for name, texts in allowed.items():
    print(f"{name}: {texts}")

compact, spaced, long = TEXTS
expect(allowed["default"] == [compact, spaced, long], "white space is bounded by default")
expect(allowed["any_whitespace=False"] == [spaced], "any_whitespace=False allows another layout")
expect(
    allowed["any_whitespace=False, compact separators"] == [compact],
    "separators do not choose the layout",
)
PYTHON
