"""Writes docs/settings.md from `Settings`: run `make pages` after a setting was changed."""

from pathlib import Path
from typing import Any

from service.pacs_settings import PacsSettings
from service.settings import DEMO_BUNDLE, Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
GROUPS = {
    "host": "Address and access",
    "bundle": "Bundle and hardware",
    "data_dir": "Case library",
    "llm_url": "Language model",
    "deadline_s": "Time and limits",
    "log_level": "Logs and traces",
    "ae_title": "PACS",
}
"""First setting of each group → its heading."""
HEAD = """# Settings

Every setting is an environment variable. All have a default: `eclip serve` runs without any.
Lists and objects are written as JSON, such as `ECLIP_ALLOWED_HOSTS='["radiology.example"]'`.

This page is generated from [service/settings.py](../service/settings.py) and
[service/pacs_settings.py](../service/pacs_settings.py) by `make pages`.
"""
COMPUTED = {"cores": "the available cores", "memory_bytes": "by cores and memory"}
"""Setting whose default is computed → what it comes from."""
COLUMNS = "| variable | type | default | meaning |\n|---|---|---|---|\n"


def document() -> str:
    """Returns the page for the settings as they are in the code."""
    of_pacs = PacsSettings.model_fields
    names = [*(name for name in Settings.model_fields if name not in of_pacs), *of_pacs]
    return HEAD + "".join(map(_lines, names))


def _lines(name: str) -> str:
    field = Settings.model_fields[name]
    meaning = " ".join((field.description or "").split())
    kind = _kind(Settings.model_json_schema()["properties"][name])
    row = f"| `ECLIP_{name.upper()}` | {kind} | {_default(name)} | {meaning} |\n"
    return f"\n## {GROUPS[name]}\n\n{COLUMNS}{row}" if name in GROUPS else row


def _kind(schema: dict[str, Any]) -> str:
    """Example: {"type": "integer", "exclusiveMinimum": 0} → "integer above 0"."""
    if "anyOf" in schema:
        return _kind(next(kind for kind in schema["anyOf"] if kind.get("type") != "null"))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    names = {"array": "list", "object": "JSON object", "string": "text", "boolean": "true or false"}
    kind = {"uri": "address", "path": "path", "password": "secret"}.get(schema.get("format", ""))
    kind = kind or names.get(schema["type"], schema["type"])
    if schema.get("items", {}).get("format") == "uri":
        return "addresses"
    if "exclusiveMinimum" in schema:
        return f"{kind} above {schema['exclusiveMinimum']:g}"
    if "maximum" in schema:
        return f"{kind} from {schema['minimum']} to {schema['maximum']}"
    return f"{kind} from {schema['minimum']}" if "minimum" in schema else kind


def _default(name: str) -> str:
    field = Settings.model_fields[name]
    if field.default_factory is not None:
        return COMPUTED[name]
    if field.default == DEMO_BUNDLE:
        return "the demo bundle"
    if field.default is None or field.default in ((), {}):
        return "unset"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    if name.endswith("_bytes"):
        return f"`{field.default}` ({field.default >> 20} MiB)"
    return f"`{field.default}`"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(document(), encoding="utf-8")
