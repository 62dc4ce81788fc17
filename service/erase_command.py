"""Erases deleted content from an embedded library at once: the command `eclip erase`."""

from rich.console import Console

from service.cases.edge import EdgeStore
from service.cases.places import renditions_of, unnamed
from service.command_start import start
from service.errors import StoreUnavailable


def erase() -> None:
    """Erases what was deleted from the embedded library's files, and images that no study has."""
    settings = start()
    if settings.qdrant_url is not None:
        raise StoreUnavailable(
            "The library is on a Qdrant server, which keeps its own files. Unset ECLIP_QDRANT_URL "
            "to erase from the embedded library."
        )
    store = EdgeStore.existing(settings.data_dir / settings.collection)
    try:
        renditions = renditions_of(settings.data_dir, settings.collection)
        lost = unnamed(store, renditions)
        renditions.remove(lost)
        store.erase()
    finally:
        store.close()
    Console().print(f"Erased. {len(lost)} images that no study has were removed.")
