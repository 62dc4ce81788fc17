"""Receives radiographs and sends draft reports back: the command `eclip listen`."""

from service import serving
from service.access.guard import Guard
from service.command_start import start
from service.listening import DEFAULT_PORT


def listen() -> None:
    """Does what `eclip serve` does with a DICOM port, ECLIP_LISTEN_PORT or else 11112."""
    settings = start()
    if settings.listen_port is None:
        settings = settings.model_copy(update={"listen_port": DEFAULT_PORT})
    Guard(settings)  # refuses before the models are loaded
    serving.serve(settings, lambda _: None)
