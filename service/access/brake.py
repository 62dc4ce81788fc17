"""Brakes callers that send wrong keys."""

import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from cachetools import TTLCache

from service.errors import TooManyWrongKeys

FREE = 10
"""Wrong keys of one address that are answered 401. Further ones are answered 429."""
PAUSE_S = 60
"""Seconds without a wrong key after which an address starts again."""
ADDRESSES = 4096
"""Addresses that are remembered, those of the oldest wrong keys out first."""
_V6_PREFIX = 64
"""Bits of an IPv6 address that one network has; a caller can choose the others."""


class Brake:
    """Counts the wrong keys of each address, used by one event loop.

    It makes a misconfigured client and a guesser seen and slow. It never stops a right key, because
    behind a proxy all callers may have one address. So it does not make a key harder to guess: the
    key's length does.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._wrong: TTLCache[str, int] = TTLCache(ADDRESSES, PAUSE_S, clock)

    def count(self, address: str) -> None:
        """Counts a wrong key. Raises TooManyWrongKeys if the address has sent more than `FREE`."""
        network = _network(address)
        self._wrong[network] = count = self._wrong.get(network, 0) + 1
        if count > FREE:
            raise TooManyWrongKeys(
                f"This address has sent {FREE} wrong API keys. Correct the key, then try again in "
                f"{PAUSE_S} s. A right key is answered at once.",
                retry_after_s=PAUSE_S,
            )


def _network(address: str) -> str:
    """Returns the network that one caller has: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:  # a Unix socket has no address
        return address
    if parsed.version == 4:
        return address
    return str(parsed.ipv4_mapped or ip_network((parsed, _V6_PREFIX), strict=False))
