"""Says whom a server without keys answers: whoever reaches it, which only this machine may.

Where the server listens decides who reaches it. A program can write any header, so no header does.
But a browser writes some of them itself, whatever page it shows. They tell the user of this machine
from another site's page that the user visits (DNS rebinding, cross-site requests).
"""

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from service.errors import ForeignRequest, SettingInvalid
from service.settings import Settings

_OWN_PAGES = ("same-origin", "none")
"""`Sec-Fetch-Site` of requests by this server's own pages, and of an address that a user typed."""


def require_reach(settings: Settings) -> None:
    """Raises SettingInvalid if a server without keys would be reached from other machines."""
    if open_to_others(settings) and not settings.anyone_may_read_and_delete:
        raise SettingInvalid(
            f"ECLIP_HOST={settings.host} is reached from other machines, and there are no API "
            "keys. Set ECLIP_KEY_FILE and make a key with `eclip keys new NAME --scopes "
            "read,write`, or listen on 127.0.0.1 or ECLIP_SOCKET. Where everybody who reaches the "
            "port may read and delete everything, set ECLIP_ANYONE_MAY_READ_AND_DELETE=true."
        )


def open_to_others(settings: Settings) -> bool:
    """Decides whether other machines reach the server and need no key."""
    local = settings.socket is not None or is_loopback(settings.host)
    return settings.keyless and not local


def refuse_foreign(settings: Settings, headers: Mapping[str, str]) -> None:
    """Raises ForeignRequest if another site's page made a browser send the request.

    headers: of the request, by lower-case name.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    if headers.get("sec-fetch-site", "none") not in _OWN_PAGES or (
        origin is not None and _netloc(origin) != host
    ):
        raise ForeignRequest(
            "Another site's page may not use a server without API keys. Set ECLIP_KEY_FILE and "
            "send a key."
        )
    if not _is_own(_name(host), settings):
        raise ForeignRequest(
            "Without API keys the server answers only under its own names. Add this host name to "
            "ECLIP_ALLOWED_HOSTS, or set ECLIP_KEY_FILE and send a key."
        )


def is_loopback(host: str) -> bool:
    """Decides whether only this machine reaches the address: 127.0.0.0/8, ::1 or `localhost`."""
    return host.lower() == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_own(name: str, settings: Settings) -> bool:
    """Decides whether no page of another site can be loaded under this name.

    DNS can give a name a new address, but never an address. So beyond loopback each address is the
    server's own.
    """
    named = {settings.host.lower(), *(host.lower() for host in settings.allowed_hosts)}
    beyond = not is_loopback(settings.host)
    return is_loopback(name) or name in named or (beyond and _is_address(name))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _netloc(url: str) -> str | None:
    """Returns the host and port of a URL; None if it is malformed."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return None


def _name(host: str) -> str:
    """Returns the host without its port, in lower case; "" if it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
