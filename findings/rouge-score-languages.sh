#!/usr/bin/env bash
# rouge-score gives 0 to a report that equals its reference, unless it is written in Latin letters.
#
# Expected: a text compared with itself scores 1 in any language.
# Happens: the default tokenizer keeps a–z and 0–9 alone. Texts in Greek, Russian or Japanese have
#   no tokens and score 0, without a warning. In German and French, letters with marks split words.
# Why it matters: ROUGE-L is what papers on report generation compare. A model for reports in
#   another script measures as worthless, and one that writes their numbers alone as perfect.
# What we do: torchmetrics, which we use, tokenizes the same way (training/evaluate/reports.py):
#   read its ROUGE-L for English reports only.
#
# Seen:
#   rouge-score 0.1.2
#   ROUGE-L of a report with itself: {'English': 1.0, 'German': 1.0, 'Greek': 0, 'Russian': 0,
#     'Japanese': 0}
#   ROUGE-L of "12" with a Russian sentence that ends "12 mm": 1.0
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check rouge-score==0.1.2
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

from rouge_score.rouge_scorer import RougeScorer


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


REPORTS = {
    "English": "Small left pleural effusion.",
    "German": "Kleiner Pleuraerguss links, Herzgröße normal.",
    "Greek": "Μικρή πλευριτική συλλογή αριστερά.",
    "Russian": "Небольшой плевральный выпот слева.",
    "Japanese": "左側に少量の胸水を認める。",
}
scorer = RougeScorer(["rougeL"])


def score(reference, written):
    return scorer.score(reference, written)["rougeL"].fmeasure


print("rouge-score", version("rouge-score"))
same = {language: score(text, text) for language, text in REPORTS.items()}
print("ROUGE-L of a report with itself:", same)
numbers = score("Узел в правом легком, 12 мм.", "12")
print(f'ROUGE-L of "12" with a Russian sentence that ends "12 mm": {numbers}')

expect(same["English"] == same["German"] == 1, "Latin letters do not score 1")
others = [same[language] for language in ("Greek", "Russian", "Japanese")]
expect(others == [0, 0, 0], "other scripts are scored")
expect(numbers == 1, "the numbers alone are no longer the whole text")
PYTHON
