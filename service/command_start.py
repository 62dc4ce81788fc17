"""Prepares a command of `eclip`: its settings, its log, and who may read its files."""

from service.logs import configure_logging
from service.permissions import KEPT, close_to_others
from service.settings import Settings, read_settings


def start() -> Settings:
    """Returns the settings of the environment, once the log and the data's modes are as they say.

    Raises as `read_settings` does.
    """
    settings = read_settings()
    configure_logging(settings.log_level)
    close_to_others(settings.data_dir / name for name in (settings.collection, *KEPT))
    return settings
