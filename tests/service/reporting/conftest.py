import pytest

from service.reporting.grounding import Grounding
from service.reporting.sentences import Draft
from tests.support.evidence import embedded, passage


@pytest.fixture
def image(encoder, radiograph, deadline):
    """The demo's radiograph, encoded."""
    return encoder.image(radiograph, deadline)


@pytest.fixture
def grounded(encoder, deadline):
    """The status of a sentence that cites all passages, each of a study of its own."""

    def status(text, passages):
        cited = [passage(number, said) for number, said in enumerate(passages, start=1)]
        grounding = Grounding(embedded(cited, encoder, deadline), (), encoder, deadline)
        numbers = tuple(item.number for item in cited)
        return grounding.check(Draft("findings", text, numbers)).status

    return status
