"""Lets a name of a Qdrant server stand for one collection, and later for another.

A store looks the name up when it opens and keeps to the collection behind it, so moving the name
disturbs no running server.
"""

import grpc  # type: ignore[import-untyped]
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from service.cases.server import server_engine
from service.errors import SettingInvalid

_FORBIDDEN = 403


def collection_behind(client: QdrantClient, name: str) -> str:
    """Returns the collection that an alias stands for; the name itself if it is no alias.

    A key that may only use one collection cannot see aliases; then the name is a collection's.
    """
    with server_engine():
        try:
            aliases = client.get_aliases().aliases
        except (grpc.RpcError, UnexpectedResponse) as error:
            if not _forbids(error):
                raise
            return name
    known = {alias.alias_name: alias.collection_name for alias in aliases}
    return known.get(name, name)


def point(client: QdrantClient, alias: str, collection: str) -> None:
    """Makes the alias stand for the collection, in one step; nobody finds it missing meanwhile.

    Raises SettingInvalid if `alias` is the name of a collection.
    """
    with server_engine():
        exists = client.collection_exists(alias)
    if exists and collection_behind(client, alias) == alias:
        raise SettingInvalid(
            "ECLIP_COLLECTION names a collection of the Qdrant server, and an alias cannot have "
            "the name of one. Set ECLIP_COLLECTION to a new name."
        )
    create = models.CreateAlias(collection_name=collection, alias_name=alias)
    with server_engine():
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])


def _forbids(error: grpc.RpcError | UnexpectedResponse) -> bool:
    if isinstance(error, UnexpectedResponse):
        return error.status_code == _FORBIDDEN
    return bool(error.code() == grpc.StatusCode.PERMISSION_DENIED)
