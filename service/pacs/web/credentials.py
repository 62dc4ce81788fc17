"""Reads from the settings what a DICOMweb service is shown."""

from base64 import b64encode

from service.errors import SettingInvalid
from service.pacs_settings import PacsSettings


def authorization(settings: PacsSettings) -> str | None:
    """Returns the Authorization header, or None. Raises SettingInvalid."""
    token, password = settings.pacs_token, settings.pacs_password
    if (settings.pacs_user is None) != (password is None):
        raise SettingInvalid("Set ECLIP_PACS_USER and ECLIP_PACS_PASSWORD together.")
    if token is not None and password is not None:
        raise SettingInvalid(
            "Both ECLIP_PACS_TOKEN and ECLIP_PACS_USER are set. A request can carry one of them: "
            "unset the other."
        )
    if password is not None:
        secret = password.get_secret_value().rstrip("\r\n")  # files of secrets end with a line
        pair = f"{settings.pacs_user}:{secret}".encode()
        return f"Basic {b64encode(pair).decode()}"
    if token is None:
        return None
    plain = token.get_secret_value().strip()
    if not plain or not plain.isascii() or not plain.isprintable():
        raise SettingInvalid("ECLIP_PACS_TOKEN must be one line of plain ASCII characters.")
    return f"Bearer {plain}"
