#!/usr/bin/env bash
# RadGraph's F1 takes "Effusion" and "effusion" for two things, and two reports without an entity
# for a complete miss.
#
# Expected: entities are compared as the words of relations are, without case; and where neither
#   report names an entity, which is 0/0, there is no score, or they agree.
# Happens: levels simple and partial compare entities with their case. Level complete ignores case
#   for entities with a relation, and keeps it for those without. Two empty annotations score 0.
# Why it matters: reports of one site are in capitals, or begin each sentence with a capital. The
#   measure then says how they are typed. "No change." against "Unchanged." counts as the worst
#   answer, so sets with many such reports measure lower. RadEval 2.2.1 carries the same code.
# What we do: both reports are in lower case before they are annotated; studies in which neither
#   report names an entity are left out and counted (training/evaluate/radgraph.py).
#
# Seen:
#   radgraph 0.1.18
#   Effusion against effusion: {'simple': 0.0, 'partial': 0.0, 'complete': 0.0}
#   the same, each located at a lung: {'simple': 0.5, 'partial': 0.5, 'complete': 1.0}
#   nothing against nothing: {'simple': 0.0, 'partial': 0.0, 'complete': 0.0}
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
# Its rewards need no other package: they compare annotations, which its model would make.
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps radgraph==0.1.18
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import importlib.util
import sys
from importlib.metadata import distribution


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


package = distribution("radgraph")
spec = importlib.util.spec_from_file_location("rewards", package.locate_file("radgraph/rewards.py"))
rewards = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rewards)


def annotation(*entities):
    return {"entities": {str(number): entity for number, entity in enumerate(entities)}}


def f1(report, reference):
    levels = ("simple", "partial", "complete")
    return dict(zip(levels, rewards.compute_reward(report, reference, "all"), strict=True))


def effusion(word, *relations):
    return {"tokens": word, "label": "Observation::definitely present", "relations": relations}


LUNG = {"tokens": "lung", "label": "Anatomy::definitely present", "relations": []}
IN_LUNG = ("located_at", "1")

print("radgraph", package.version)
alone = f1(annotation(effusion("Effusion")), annotation(effusion("effusion")))
print("Effusion against effusion:", alone)
related = f1(
    annotation(effusion("Effusion", IN_LUNG), LUNG), annotation(effusion("effusion", IN_LUNG), LUNG)
)
print("the same, each located at a lung:", related)
nothing = f1(annotation(), annotation())
print("nothing against nothing:", nothing)

expect(set(alone.values()) == {0.0}, "entities are compared without case")
expect((related["simple"], related["complete"]) == (0.5, 1.0), "levels treat case alike")
expect(set(nothing.values()) == {0.0}, "two empty annotations do not score 0")
PYTHON
