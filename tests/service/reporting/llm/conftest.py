from collections.abc import Callable, Iterator

import pytest

from service.deadline import Deadline
from service.reporting.llm import language_model
from service.reporting.llm.language_model import LanguageModel
from tests.service.reporting.llm.example import PROMPT, Written, read
from tests.support.openai_server import OpenAIServer


@pytest.fixture(autouse=True)
def _short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks all servers again after next to no time."""
    monkeypatch.setattr(language_model, "PAUSE_S", (0.0, 0.01))


@pytest.fixture
def vllm() -> Iterator[OpenAIServer]:
    """A server that speaks the OpenAI form."""
    with OpenAIServer.running() as server:
        yield server


@pytest.fixture
def other() -> Iterator[OpenAIServer]:
    """Another server."""
    with OpenAIServer.running() as server:
        yield server


@pytest.fixture
def open_model() -> Iterator[Callable[..., LanguageModel]]:
    """Opens a client of some URLs, by default with a timeout that no test reaches."""
    models = []

    def open_(
        *urls: str, timeout_s: float = 60, key: str | None = None, wanted: str | None = None
    ) -> LanguageModel:
        limits = {"timeout_s": timeout_s, "max_tokens": 100, "at_once": 2}
        models.append(LanguageModel(urls, key, model=wanted, **limits))
        return models[-1]

    yield open_
    for model in models:
        model.close()


@pytest.fixture
def model(vllm: OpenAIServer, open_model: Callable[..., LanguageModel]) -> LanguageModel:
    """A client of the server."""
    return open_model(vllm.url)


@pytest.fixture
def draft(model: LanguageModel) -> Callable[..., Written]:
    """Asks for a draft and waits for all of it."""
    return lambda seconds=60: read(model.draft(PROMPT, Deadline(seconds)))
