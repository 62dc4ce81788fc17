"""Every setting of the service, one place. Environment variables carry the prefix ECLIP_."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    HttpUrl,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

DEMO = Path(__file__).parent / "demo"
DEMO_BUNDLE = DEMO / "bundle"
DEMO_LIBRARY = DEMO / "library" / "studies.jsonl"

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

Scope = Literal["read", "write"]
KeyHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def available_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores that this process may run on, within its container's quota (cgroup v2)."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    allowed, _, period = quota.read_text().partition(" ") if quota.is_file() else ("max", "", "")
    return count if allowed == "max" else max(1, min(count, int(allowed) // int(period)))


def _split(urls: object) -> object:
    return urls.split() if isinstance(urls, str) else urls


class Settings(BaseSettings):
    """What a deployment may choose; `ECLIP_PORT=9000` sets `port`."""

    model_config = SettingsConfigDict(env_prefix="ECLIP_", frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000

    bundle: Path = DEMO_BUNDLE
    """Directory of the bundle to serve."""
    data_dir: Path = Path("var")
    """Case library (Qdrant Edge), image renditions, audit log and identifier key; must be
    writable."""

    qdrant_url: HttpUrl | None = None
    """A Qdrant server; without one the library is embedded in `data_dir`."""
    qdrant_api_key: SecretStr | None = None
    qdrant_shards: PositiveInt | None = None
    qdrant_replicas: PositiveInt | None = None
    qdrant_written: PositiveInt | None = None
    """Replicas that have a write before it is acknowledged."""
    qdrant_on_disk: bool = False
    qdrant_quantization: Literal["scalar", "product"] | None = None
    """Of a collection that is made anew, as the four before; see `CollectionLayout`."""
    collection: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "studies"

    llm_url: Annotated[tuple[HttpUrl, ...], NoDecode, BeforeValidator(_split)] = ()
    """Base URLs, with spaces between them, of OpenAI-compatible servers (vLLM) of one model, such
    as http://vllm:8000/v1; without one, reports are extractive."""
    llm_api_key: SecretStr | None = None
    llm_timeout_s: PositiveFloat = 120
    llm_max_tokens: PositiveInt = 768
    llm_at_once: PositiveInt = 32
    """Reports that the language model writes at once; one more is answered 429."""

    api_keys: dict[KeyHash, tuple[Scope, ...]] = {}
    """sha256 of each key → its scopes. Empty: no key is asked for, on this machine."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, besides this machine's own, under which a server without keys may be asked."""

    cores: PositiveInt = Field(default_factory=available_cores)
    """Cores that decoding and the towers may fill; else those that this process is given."""
    threads: PositiveInt | None = None
    """ONNX Runtime threads of one call; None for one, from sixteen cores up an eighth of them."""
    providers: tuple[str, ...] = ()
    """ONNX Runtime execution providers, best first; empty: CUDA where available, then CPU."""
    precision: Literal["auto", "fp32", "int8"] = "auto"
    """auto: int8 on a CPU where the bundle has it, else fp32."""
    max_batch: PositiveInt = 8
    queue_items: PositiveInt = 256
    """Images or texts of requests in progress, and that may wait; one more is answered 429."""
    queue_bytes: PositiveInt = 256 * 2**20
    """Bytes of prepared images that may wait."""
    cache_items: NonNegativeInt = 4096
    """Images, and as many texts, whose vectors are kept in memory for when they come again."""
    deadline_s: PositiveFloat = 30
    """Time a request may take, report generation by an LLM excepted."""

    max_body_bytes: PositiveInt = 64 * 2**20
    max_held_bytes: PositiveInt = 2**30
    """Bytes of all request bodies that are being read or answered; more are answered 429."""
    body_s: PositiveFloat = 60
    """Time that a request body may take to arrive."""
    max_image_bytes: PositiveInt = 48 * 2**20
    max_image_pixels: PositiveInt = 64 * 10**6
    max_images: PositiveInt = 64
    max_texts: PositiveInt = 256
    max_text_chars: PositiveInt = 20_000
    max_k: PositiveInt = 100

    otlp_url: HttpUrl | None = None
    """An OpenTelemetry collector's HTTP endpoint for traces, such as http://otel:4318/v1/traces."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def longest_s(self) -> float:
        """Time that any accepted request may take, from its first byte to its answer."""
        return self.body_s + self.deadline_s + (self.llm_timeout_s if self.llm_url else 0)
