"""Holds every setting of the service, read from environment variables with the prefix ECLIP_."""

import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
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
from pydantic_settings import NoDecode, SettingsConfigDict

from service.bundle.batches import DEFAULT_BATCH
from service.errors import SettingInvalid
from service.pacs_settings import PacsSettings

DEMO = Path(__file__).parent / "demo"
DEMO_BUNDLE = DEMO / "bundle"
DEMO_LIBRARY = DEMO / "library" / "studies.jsonl"

PREFIX = "ECLIP_"
"""Start of the name of each variable that is a setting."""
OF_TESTS = frozenset({"ECLIP_SHARED_DATA"})
"""Variables of the prefix that a developer may set for the tests. They are no settings."""

PER_CORE = 640 * 2**20
"""Bytes of `memory_bytes` for each core: it decodes one image at a time."""
OF_MEMORY = 5 / 8
"""Share of a container's memory that is for requests. Program, models and store have the rest."""

Scope = Literal["read", "write", "delete", "metrics"]
KeyHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def available_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Returns the cores that this process may use, within its container's quota (cgroup v2)."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    allowed, _, period = quota.read_text().partition(" ") if quota.is_file() else ("max", "", "")
    return count if allowed == "max" else max(1, min(count, int(allowed) // int(period)))


def usable_memory(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Returns the default of `memory_bytes`, within the container's limit (cgroup v2)."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    allowed = limit.read_text().strip() if limit.is_file() else "max"
    there_is = machine if allowed == "max" else min(machine, int(allowed))
    return min(int(there_is * OF_MEMORY), max(2, available_cores()) * PER_CORE)


def _split(urls: object) -> object:
    return urls.split() if isinstance(urls, str) else urls


def _named(text: object) -> object:
    return text.strip() or None if isinstance(text, str) else text


class Settings(PacsSettings):
    """The choices of a deployment. Example: `ECLIP_PORT=9000` sets `port`.

    The field docstrings are the text of docs/settings.md (`make pages`).
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address to listen on. Beyond this machine (`0.0.0.0`) the start needs API keys."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """TCP port to listen on."""
    socket: Path | None = None
    """Path of a Unix socket to listen on instead of an address. Put it in a directory that only
    those who may ask can enter."""
    key_file: Path | None = None
    """JSON file of API keys: the name of each → SHA-256, scopes and expiry. `eclip keys` writes
    it. A change counts from the next request on. Unset, and no `ECLIP_API_KEYS`: anyone on this
    machine may do everything."""
    api_keys: dict[KeyHash, tuple[Scope, ...]] = {}
    """JSON object: SHA-256 of each further API key → its scopes (`read`, `write`, `delete`,
    `metrics`). Such a key has no expiry; its name is the first 12 digits."""
    anyone_may_read_and_delete: bool = False
    """Whether a server without API keys may listen beyond this machine. Everybody who reaches it
    may then read and delete everything."""
    allowed_hosts: tuple[str, ...] = ()
    """JSON list of host names, besides this machine's own, under which a server without API keys
    answers browsers. It lets nobody in by itself."""

    bundle: Path = DEMO_BUNDLE
    """Directory of the bundle to serve. A case library belongs to the bundle that wrote it."""
    providers: tuple[str, ...] = ()
    """JSON list of ONNX Runtime execution providers, best first. Empty: CUDA if available, then
    CPU. A provider that is missing stops the start."""
    precision: Literal["auto", "fp32", "int8"] = "auto"
    """Number format of the models. `auto`: int8 on a CPU if the bundle has it, else fp32. `int8` on
    a bundle without it stops the start."""
    cores: PositiveInt = Field(default_factory=available_cores)
    """CPU cores for decoding and for the models. The default counts the cores that the process may
    use, within its container's quota."""
    threads: PositiveInt | None = None
    """ONNX Runtime threads per model call. Unset: 1, and from 16 cores up an eighth of the
    cores."""
    max_batch: PositiveInt = DEFAULT_BATCH
    """Images or texts in one model call. More raises throughput on a GPU, and the wait."""
    cache_items: NonNegativeInt = 4096
    """Images, and as many texts, whose vectors stay in memory. A repeated image or text costs no
    model call. 0 turns the cache off."""

    data_dir: Path = Path("var")
    """Directory for the embedded case library, renditions, the audit log and the key of the
    references. It must be writable. Include it in your backups."""
    disk_reserve_bytes: NonNegativeInt = 256 * 2**20
    """Bytes of the data directory's disk that are kept; of a disk under a gibibyte a quarter. Half
    of them stay free: a study that would need them is answered 507. The other half is a file,
    `ballast`, that is given up on a full disk, so that the library opens and studies can be
    deleted. 0 keeps nothing."""
    collection: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "studies"
    """Name of the case library: a directory in `ECLIP_DATA_DIR`, or a collection of the Qdrant
    server, or an alias there (`eclip switch`)."""
    qdrant_url: HttpUrl | None = None
    """Address of a Qdrant server, such as http://qdrant:6333. Unset: the case library is embedded
    in `ECLIP_DATA_DIR`, for one process at a time."""
    qdrant_api_key: SecretStr | None = None
    """API key of the Qdrant server."""
    qdrant_shards: PositiveInt | None = None
    """Shards of a collection when it is created. Unset: the server's choice."""
    qdrant_replicas: PositiveInt | None = None
    """Copies of each shard when a collection is created. Unset: the server's choice."""
    qdrant_written: PositiveInt | None = None
    """Replicas that must have a write before it is acknowledged, set when a collection is created.
    Unset: the server's choice."""
    qdrant_on_disk: bool = False
    """Whether a collection that is created keeps its vectors on disk. Saves memory, and searches
    are slower."""
    qdrant_number: Literal["float32", "float16"] | None = None
    """Format of the vectors when a collection is created. `float16` halves them; a score moves by
    less than .001. Unset: the server's choice, float32."""
    qdrant_quantization: Literal["scalar", "turbo", "product"] | None = None
    """Compression of the vectors in memory when a collection is created: `scalar` to a quarter,
    `turbo` to an eighth, `product` to a sixteenth of float32. The stored vectors rank the hits.
    Unset: none."""

    llm_url: Annotated[tuple[HttpUrl, ...], NoDecode, BeforeValidator(_split)] = ()
    """Base addresses of OpenAI-compatible servers (vLLM) of one model, separated by spaces, such as
    http://vllm:8000/v1. An address without a path means its `/v1`. Unset: reports are
    extractive."""
    llm_model: Annotated[str | None, BeforeValidator(_named)] = None
    """Name of the model to ask, as `/v1/models` of its servers lists it. Unset or empty: the only
    one that a server offers; where one offers several, no report is written."""
    llm_api_key: SecretStr | None = None
    """API key of the language model servers."""
    llm_proxy: HttpUrl | None = None
    """Address of an HTTP proxy to ask the language model servers through, such as
    http://proxy:3128. Unset: they are asked directly. `HTTPS_PROXY` and its like are not read."""
    llm_timeout_s: PositiveFloat = 120
    """Seconds that the language model may take for one report, in addition to
    `ECLIP_DEADLINE_S`."""
    llm_max_tokens: PositiveInt = 768
    """Tokens of one report. A draft that is cut there is written once more, with twice as many."""
    llm_at_once: PositiveInt = 32
    """Reports that the language model writes at the same time. One more is answered 429."""

    deadline_s: PositiveFloat = 30
    """Seconds that a request may take once it has arrived. Later it is answered 504. Reports by a
    language model have `ECLIP_LLM_TIMEOUT_S` more."""
    body_s: PositiveFloat = 60
    """Seconds that a request body may take to arrive. Later it is answered 408."""
    connections: PositiveInt = 1024
    """Open connections. One more costs the connection whose client has been silent longest. Fewer
    if the process may not open twice as many files."""
    head_s: PositiveFloat = 10
    """Seconds that the head of a request may take to arrive. Later its connection is cut."""
    idle_s: PositiveInt = 75
    """Seconds that a connection may be idle after an answer, and that a client may take nothing of
    its answer. Later the connection is closed. Set more than a proxy keeps its connections."""
    queue_items: PositiveInt = 256
    """Images and texts of all requests in progress. One more is answered 429. One request takes at
    most half of the places at a time, or an eighth if it is bulk work; all bulk work together takes
    at most three quarters."""
    memory_bytes: Annotated[int, Field(ge=64 * 2**20)] = Field(default_factory=usable_memory)
    """Bytes for what requests hold and what decoding takes, not for the program and the models.
    Requests hold at most two fifths; more are answered 429. Decoding waits for the rest. The
    default is 640 MiB for each core, two cores at least, but no more than five eighths of the
    memory of the container or the machine."""
    max_body_bytes: PositiveInt = 64 * 2**20
    """Bytes of one request body. More are answered 413."""
    max_image_bytes: PositiveInt = 48 * 2**20
    """Bytes of one image file. More are answered 413."""
    max_image_pixels: PositiveInt = 64 * 10**6
    """Pixels of one image, read from its header before it is decoded. More are answered 413."""
    max_images: PositiveInt = 64
    """Images, or studies, in one request. More are answered 400."""
    max_texts: PositiveInt = 256
    """Texts in one request. More are answered 400."""
    max_text_chars: PositiveInt = 20_000
    """Characters of one text, also of a study's report. More are answered 422."""
    max_k: PositiveInt = 100
    """Largest `k` of a search or a report. More is answered 400."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged, as JSON lines on standard error."""
    otlp_url: HttpUrl | None = None
    """HTTP endpoint of an OpenTelemetry collector for traces, such as
    http://otel:4318/v1/traces. Unset: nothing is sent."""

    @property
    def keyless(self) -> bool:
        """Whether no request needs a key."""
        return self.key_file is None and not self.api_keys

    @property
    def request_bytes(self) -> int:
        """Bytes of memory that all requests together may hold: two fifths."""
        return self.memory_bytes * 2 // 5

    @property
    def decoding_bytes(self) -> int:
        """Bytes of memory that all images together may take while they are decoded."""
        return self.memory_bytes - self.request_bytes

    @property
    def report_s(self) -> float:
        """Seconds that a report may take once its request has arrived."""
        return self.deadline_s + (self.llm_timeout_s if self.llm_url else 0)

    @property
    def longest_s(self) -> float:
        """Seconds that any accepted request may take, from its first byte to its answer.

        A container needs as long to stop (`stop_grace_period`).
        """
        return self.body_s + self.report_s


def read_settings() -> Settings:
    """Returns the settings of the environment.

    Raises SettingInvalid for a variable that looks like a setting and is none, and pydantic's
    ValidationError for a value that is out of bounds.
    """
    _refuse_unknown(os.environ)
    return Settings()


def _refuse_unknown(variables: Iterable[str]) -> None:
    """Raises SettingInvalid for a misspelt setting, which would otherwise do nothing."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for variable in sorted(variables):
        name = variable.upper()
        if name.startswith(PREFIX) and name not in known | OF_TESTS:
            near = get_close_matches(name, sorted(known), n=1, cutoff=0)[0]
            raise SettingInvalid(
                f"There is no setting {variable}. Did you mean {near}? Correct its name, or unset "
                "it."
            )
