import pytest


@pytest.fixture
def image(encoder, radiograph, deadline):
    """The demo's radiograph, encoded."""
    return encoder.image(radiograph, deadline)
