"""Looks for faults of the case library, and repairs those that are named: `eclip check`."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from service.cases.checking import Fault, Kind, faults
from service.cases.repairs import MEANINGS, REMEDIES, repair
from service.command_start import start
from service.console import progress_bar
from service.imaging.deidentify import StudyRef
from service.pacs.pull.ledger import forget_in_all
from service.wiring import open_own_library, require_key

SHOWN = 20
"""Studies of a kind of fault that are shown."""
out, err = Console(), Console(stderr=True)


def check(
    repairs: Annotated[
        list[Kind] | None,
        typer.Option("--repair", help="Repair the faults of this kind. Give it again for others"),
    ] = None,
) -> None:
    """Looks at every study of the case library. Exits with 1 if there was a fault."""
    settings, chosen = start(), frozenset(repairs or ())
    found, studies = Counter[Kind](), defaultdict[Kind, list[StudyRef]](list)
    require_key(settings.data_dir)
    with open_own_library(settings) as (store, renditions):
        count = store.count()
        with progress_bar(err, count, "Checking") as bar:
            for fault in faults(store, renditions, bar.skip):
                found[fault.kind] += fault.number
                _remember(fault, studies[fault.kind])
                if fault.kind in chosen:
                    if fault.study is not None:  # so that the next `eclip index` pulls it again
                        forget_in_all(settings.data_dir, settings.collection, fault.study)
                    repair(fault, store, renditions)
    if not found:
        out.print(f"{count} studies are sound.")
        return
    for kind in (each for each in Kind if each in found):
        _show(kind, found[kind], studies[kind], repaired=kind in chosen)
    raise typer.Exit(1)


def _remember(fault: Fault, studies: list[StudyRef]) -> None:
    if fault.study is not None and len(studies) < SHOWN and fault.study not in studies:
        studies.append(fault.study)


def _show(kind: Kind, number: int, studies: Sequence[StudyRef], *, repaired: bool) -> None:
    """Prints lines that may be copied whole, however narrow the terminal is."""
    todo = f"{'Repaired:' if repaired else f'--repair {kind}'} {REMEDIES[kind]}"
    lines = [f"{kind}: {number:,} {MEANINGS[kind]}", f"    {todo}"]
    if studies:
        lines += [f"    Studies, {SHOWN} at most:", *(f"    {study}" for study in studies)]
    out.print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)
