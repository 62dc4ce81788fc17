#!/usr/bin/env bash
# Qdrant's BM25 model drops "no" and "not" from English texts, and keeps "without".
#
# Expected: a text that denies a finding and a text that states it have different sparse vectors.
# Happens: the default list of stop words holds "no" and "not", so "No pleural effusion" and
#   "Pleural effusion" have the same words; "without" is not on the list.
# Why it matters: chest reports are full of denials. A search by words for "no effusion" ranks the
#   reports that state an effusion just as high.
# What we do: Bm25 gets an empty list of stop words (service/cases/words.py).
#
# Seen:
#   qdrant-edge-py 0.9.0
#   dropped by default: {'no': True, 'not': True, 'without': False}
#   kept with an empty list of stop words: {'no': True, 'not': True, 'without': True}
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check qdrant-edge-py==0.9.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import qdrant_edge as qdrant


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


PAIRS = {
    "no": ("No pleural effusion.", "Pleural effusion."),
    "not": ("The heart is not enlarged.", "The heart is enlarged."),
    "without": ("Nodule without calcification.", "Nodule calcification."),
}
default = qdrant.Bm25()
every_word = qdrant.Bm25(qdrant.Bm25Config(stopwords=qdrant.StopwordsSet(set(), set())))


def same_words(model, texts):
    denied, stated = (set(model.embed_document(text).indices) for text in texts)
    return denied == stated


print("qdrant-edge-py", version("qdrant-edge-py"))
dropped = {word: same_words(default, texts) for word, texts in PAIRS.items()}
print("dropped by default:", dropped)
kept = {word: not same_words(every_word, texts) for word, texts in PAIRS.items()}
print("kept with an empty list of stop words:", kept)

expect(dropped["no"] and dropped["not"], '"no" and "not" are kept by default')
expect(not dropped["without"], '"without" is dropped by default too')
expect(all(kept.values()), "an empty list of stop words still drops a denial")
PYTHON
