"""Makes a name of the Qdrant server stand for another collection: the command `eclip switch`."""

from typing import Annotated

import typer
from rich.console import Console

from service.cases.aliases import collection_behind, point
from service.cases.copying import missing, require_same_key
from service.cases.server import ServerStore
from service.command_start import start
from service.errors import SettingInvalid
from service.wiring import connect_to_qdrant


def switch(
    collection: Annotated[
        str, typer.Argument(help="Collection that `eclip copy` or `eclip index` filled")
    ],
) -> None:
    """Makes the alias ECLIP_COLLECTION stand for a collection of the Qdrant server.

    Servers that run keep to the collection they opened.
    """
    settings = start()
    if settings.qdrant_url is None:
        raise SettingInvalid(
            "Only a Qdrant server has aliases, and ECLIP_QDRANT_URL is not set. For an embedded "
            "library set ECLIP_COLLECTION to the name of the new one."
        )
    client = connect_to_qdrant(settings)
    alias = settings.collection
    try:
        collection = collection_behind(client, collection)
        new = ServerStore.existing(client, collection)
        before = collection_behind(client, alias)
        if before != alias:
            old = ServerStore.existing(client, before)
            require_same_key(old, new.identity.key_fingerprint)
            if lacking := missing(old, new):
                Console(stderr=True).print(
                    f"{collection} lacks {lacking} studies of {before}. Bring them by `eclip copy "
                    f"{before}`: `eclip index` of a PACS passes over those that it pulled before.",
                    soft_wrap=True,
                )
        point(client, alias, collection)
    finally:
        client.close()
    Console().print(f"{alias} stands for {collection}. Start the servers again to use it.")
