"""Finds case libraries, each with its store and its renditions, and tidies their renditions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from qdrant_client import QdrantClient

from service.cases.aliases import collection_behind
from service.cases.base import CaseStore
from service.cases.edge import EdgeStore
from service.cases.operations import Selection
from service.cases.points import RECORD, to_study
from service.cases.renditions import Renditions, names_of
from service.cases.server import ServerStore
from service.errors import StoreUnavailable
from service.telemetry import log

_RENDITIONS = "renditions"


def renditions_of(data_dir: Path, collection: str, reserve: int = 0) -> Renditions:
    """Returns the renditions of a collection, on whichever engine. See `Renditions.reserve`."""
    return Renditions(data_dir / _RENDITIONS / collection, reserve)


def sweep(store: CaseStore, renditions: Renditions) -> None:
    """Removes the renditions that writes of killed processes left and that no study has.

    Other processes may write to the same library meanwhile. Where the disk does not let them be
    removed, they stay until the next start, and the log says so.
    """
    try:
        with store.writing.held():
            for note in renditions.left_over():
                studies = filter(None, map(store.get, note.studies))
                renditions.remove_drafts(note.names)
                renditions.remove(set(note.names).difference(*map(names_of, studies)))
    except (OSError, StoreUnavailable) as error:
        log().error("renditions not swept", error=type(error).__name__)


def unnamed(store: CaseStore, renditions: Renditions) -> set[str]:
    """Returns the names of the renditions that no study has. Nobody may write meanwhile."""
    records = store.points(Selection(must={"part": [RECORD]}))
    return set(renditions.all_names()).difference(*(names_of(to_study(r.payload)) for r in records))


def holds_library(data_dir: Path) -> bool:
    """Returns whether a case library, or the renditions of one, is in the data directory."""
    return (data_dir / _RENDITIONS).is_dir() or any(data_dir.glob("*/collection"))


@contextmanager
def open_existing(
    name: str, data_dir: Path, connect: Callable[[], QdrantClient] | None
) -> Iterator[tuple[CaseStore, Renditions]]:
    """Opens a library that exists, of any bundle and key, with its renditions.

    name: directory of an embedded library, such as var/studies, or else a collection of the Qdrant
    server that `connect` reaches, or an alias there. Raises StoreUnavailable if there is no such
    library.
    """
    path = Path(name)
    store: CaseStore
    if path.is_dir():
        store, renditions = EdgeStore.existing(path), renditions_of(path.parent, path.name)
    elif connect is not None:
        client = connect()
        collection = collection_behind(client, name)
        store = ServerStore.existing(client, collection)
        renditions = renditions_of(data_dir, collection)
    else:
        raise StoreUnavailable(
            "There is no directory of that name, and ECLIP_QDRANT_URL is not set. Name the "
            "directory of a case library, or set ECLIP_QDRANT_URL to name a collection."
        )
    try:
        yield store, renditions
    finally:
        store.close()
