"""Prepares a command of `eclip`: its settings, its log, and who may read its files."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from service.errors import RequestMalformed
from service.logs import configure_logging
from service.permissions import KEPT, close_to_others
from service.settings import Settings, read_settings

COMMAND_S = 600.0
"""Seconds that a search or a report may take."""


def start() -> Settings:
    """Returns the settings of the environment, once the log and the data's modes are as they say.

    Raises as `read_settings` does.
    """
    settings = read_settings()
    configure_logging(settings.log_level)
    close_to_others(settings.data_dir / name for name in (settings.collection, *KEPT))
    return settings


@contextmanager
def as_usage_error(option: str) -> Iterator[None]:
    """Turns a malformed request into a usage error that names the option."""
    try:
        yield
    except RequestMalformed as error:
        raise typer.BadParameter(error.detail, param_hint=f"'{option}'") from None
