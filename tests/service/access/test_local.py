import pytest

from service.access.guard import Guard
from service.access.local import is_loopback, refuse_foreign
from service.errors import ForeignRequest, SettingInvalid
from service.settings import Settings

KEYS = {"api_keys": {"a" * 64: ("read",)}}
BEYOND = [
    "0.0.0.0",
    "::",
    "",
    "192.0.2.7",
    "gpu-box",
    "127.1",
    "::ffff:192.0.2.7",
    "127.0.0.1.example",
]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.255.0.9", "::1", "localhost"])
def test_without_keys_the_server_starts_on_this_machines_own_addresses(host):
    Guard(Settings(host=host))


@pytest.mark.parametrize("host", BEYOND)
@pytest.mark.parametrize("others", [{}, {"allowed_hosts": ("0.0.0.0", "gpu-box", "localhost")}])
def test_without_keys_the_server_does_not_start_beyond_this_machine(host, others):
    with pytest.raises(SettingInvalid, match=r"eclip keys new.*MAY_READ_AND_DELETE=true"):
        Guard(Settings(host=host, **others))


@pytest.mark.parametrize("host", BEYOND)
@pytest.mark.parametrize(
    "others", [KEYS, {"anyone_may_read_and_delete": True}, {"socket": "/run/eclip/socket"}]
)
def test_keys_a_socket_or_the_setting_that_says_so_lift_the_rule(host, others):
    Guard(Settings(host=host, **others))


def foreign(settings, **headers):
    try:
        refuse_foreign(settings, {name.replace("_", "-"): text for name, text in headers.items()})
    except ForeignRequest:
        return True
    return False


def test_an_address_cannot_be_rebound_and_a_name_can():
    bound = Settings(host="192.0.2.7", anyone_may_read_and_delete=True)
    for host in ("192.0.2.7:8000", "10.0.0.1", "[2001:db8::1]:80", "localhost", "127.0.0.1"):
        assert not foreign(bound, host=host)
    for host in ("gpu-box", "192.0.2.7.example", "", "[::1", "a b"):
        assert foreign(bound, host=host)
    named = Settings(host="GPU-box", anyone_may_read_and_delete=True, allowed_hosts=("Other",))
    assert not foreign(named, host="gpu-box:8000")
    assert not foreign(named, host="other")


def test_on_loopback_an_address_of_elsewhere_is_foreign():
    assert foreign(Settings(), host="192.0.2.7:8000")
    assert not foreign(Settings(host="127.0.0.2"), host="127.0.0.2:8000")
    assert not foreign(Settings(host="127.0.0.2"), host="localhost")


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//", "null", "", "http://a/b c"])
def test_a_malformed_origin_is_foreign(origin):
    assert foreign(Settings(), host="127.0.0.1", origin=origin)


@pytest.mark.parametrize(
    ("site", "refused"),
    [
        ("same-origin", False),
        ("none", False),
        ("same-site", True),
        ("cross-site", True),
        ("", True),
    ],
)
def test_what_a_browser_says_of_the_asking_page_counts(site, refused):
    assert foreign(Settings(), host="127.0.0.1", sec_fetch_site=site) == refused


def test_loopback_is_an_address_or_the_one_name():
    assert not is_loopback("localhost.example")
    assert is_loopback("LOCALHOST")
