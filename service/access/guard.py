"""Lets a request in, or says why not."""

from collections.abc import Mapping

from service.access.brake import Brake
from service.access.keys import Key, KeyRing
from service.access.local import refuse_foreign, require_reach
from service.errors import Unauthenticated
from service.settings import Settings


class Guard:
    """The door of one server, used by one event loop.

    Raises SettingInvalid if a server without keys would be reached from other machines, or the key
    file cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        require_reach(settings)
        self._settings, self._brake = settings, Brake()
        self._keys = None if settings.keyless else KeyRing(settings.api_keys, settings.key_file)

    def identify(self, sent: str | None, headers: Mapping[str, str], address: str) -> Key | None:
        """Returns the key of a request; None from a server without keys, which asks for none.

        sent: the key, or None. headers: by lower-case name. address: the caller's; "" at a Unix
        socket. Raises Unauthenticated, TooManyWrongKeys or, without keys, ForeignRequest.
        """
        if self._keys is None:
            refuse_foreign(self._settings, headers)
            return None
        key = None if sent is None else self._keys.find(sent)
        if key is not None:
            return key
        if sent is not None:
            self._brake.count(address)
        raise Unauthenticated(
            "The request has no known API key. Send one as `Authorization: Bearer KEY`."
        )
