"""Chooses the model to ask among those that a server offers."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pydantic import BaseModel

from service.errors import LlmRefused

MOST_NAMES, MOST_CHARS = 10, 80
"""Names, and characters of each, that an error lists."""


class _Model(BaseModel):
    id: str
    root: object = None
    """What vLLM serves under the name: its aliases of one model share it."""


class _Models(BaseModel):
    data: list[_Model] | None


def chosen(listing: bytes | str, wanted: str | None) -> str:
    """Returns the model to ask: the wanted one, or without a wish the only one.

    listing: an answer of `/v1/models`. A wish may leave out Ollama's `:latest`, and may match a
    pattern such as LiteLLM's `openai/*`. Raises LlmRefused if there is no such model, or several
    and no wish, and ValueError for another answer.
    """
    models = _Models.model_validate_json(listing).data or ()
    names = list(dict.fromkeys(one.id for one in models))
    if not names:
        raise LlmRefused("The language model server offers no model. Load one.")
    if wanted is None and len({str(one.root or one.id) for one in models}) > 1:
        raise LlmRefused(
            f"The language model server offers {len(names)} models. Set ECLIP_LLM_MODEL to one of "
            f"them: {_listed(names)}."
        )
    if wanted is None:
        return names[0]
    for name in names:
        if name in (wanted, f"{wanted}:latest"):
            return name
        if "*" in name and fnmatchcase(wanted, name):
            return wanted
    raise LlmRefused(
        "The language model server does not offer the model that ECLIP_LLM_MODEL names. It offers: "
        f"{_listed(names)}."
    )


def _listed(names: Sequence[str]) -> str:
    shown = ("".join(filter(str.isprintable, name[:MOST_CHARS])) for name in names[:MOST_NAMES])
    return ", ".join(shown) + (
        f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    )
