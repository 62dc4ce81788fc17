"""Measures images to vectors over HTTP: this service, its peers and the machine's own limit.

`make bench` makes the peers' environments and runs it. Every server has one ViT-B-32 with the same
random weights (speed does not depend on them); images are distinct 512×512 JPEGs, and there is no
cache. All servers run and take turns; figures are medians over the rounds. Their vectors must agree
before anything is timed. The limit is cores ÷ (model + preprocessing + HTTP) in CPU-seconds an
image: the bare session at its best, `decode` and `preprocess` alone, and this service answering
from its cache.
"""

import asyncio
import base64
import contextlib
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import psutil
import torch
import typer
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.table import Table

from service.arrays import FloatArray
from service.bundle.labels import LabelSets
from service.bundle.manifest import IMAGE_TOWER, INT8, Bundle, Int8, load, seal
from service.bundle.preprocess import ImageSpec, preprocess
from service.imaging.decode import ImageLimits, decode
from service.settings import DEMO_BUNDLE
from tests.benchmarks.peers.hf_clip import write_hf_clip
from tests.support.http_load import Answer, closed_loop, open_loop, post
from tests.support.paths import RADIOGRAPH, ROOT
from training.data.phantom import PhantomConfig, phantom
from training.export.bundle import write_bundle
from training.export.int8 import quantise
from training.model.clip import from_open_clip
from training.recipe import CONFIGS

MODEL, SIDE, IMAGES = "ViT-B-32", 512, 48
CLIENTS = (1, 4, 16, 64)
LOADS = (0.5, 0.8, 1.1)
AT_ONCE = 16
"""Clients at which capacity is measured."""
START_S = 180.0
NEAR = 0.999
COLUMNS = (
    "load", "server", "images/s", "× infinity", "p50 ms", "p99 ms", "CPU ms", "RSS MB", "errors",
)  # fmt: skip
OUT = ROOT / "tests" / "benchmarks" / "serving"


@dataclass(frozen=True)
class Peer:
    """A server: its command for a port, its requests, and where an answer holds the vector."""

    name: str
    command: Callable[[int], list[str]]
    request: Callable[[bytes], bytes]
    vector: Callable[[Any], Sequence[float] | str]
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Load:
    """What one server did under one load.

    cpu_ms, asking_ms: CPU-milliseconds for each answered image, of the server and of the load
    generator, which runs on the same cores; the rest of cores ÷ per_second is idle.
    """

    server: str
    load: str
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    asking_ms: float
    rss_mb: float
    errors: int


class Running:
    """A started peer."""

    ready_s = float("nan")
    """Seconds from its start to its first answer."""

    def __init__(self, peer: Peer, process: subprocess.Popen[bytes], port: int) -> None:
        self.peer, self.port = peer, port
        self._process = psutil.Process(process.pid)

    @cached_property
    def _tree(self) -> list[psutil.Process]:
        """The processes once it has answered; looking them up costs more than an image."""
        return [self._process, *self._process.children(recursive=True)]

    def cpu_s(self) -> float:
        """Returns CPU-seconds so far, of the server and the processes that it started."""
        return sum(sum(process.cpu_times()[:2]) for process in self._tree)

    def end(self) -> None:
        """Kills the server and the processes that it started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in self._tree:
                process.kill()

    def rss(self) -> int:
        """Returns the resident bytes now."""
        return sum(process.memory_info().rss for process in self._tree)


def main(
    infinity: Annotated[Path | None, typer.Option(help="Its infinity_emb command")] = None,
    litserve: Annotated[Path | None, typer.Option(help="A Python that has it")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(help="Of each load")] = 4.0,
    out: Annotated[Path, typer.Option("--out", help="Folder of serving.json and .png")] = OUT,
) -> None:
    """Measures, prints, and writes serving.json and serving.png."""
    images = pictures()
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        bundle, checkpoint, hf = make_model(Path(scratch))
        peers = [*ours(bundle, Path(scratch)), open_clip_peer(checkpoint)]
        if infinity is not None:
            peers.append(infinity_peer(infinity, hf))
        if litserve is not None:
            peers.append(litserve_peer(litserve, bundle.path / IMAGE_TOWER))
        started = [stack.enter_context(running(peer, Path(scratch))) for peer in peers]
        agreement = agree(started, images)
        loads = measure(started, images, rounds, seconds)
        limits = ceilings(bundle, images, Path(scratch))
        beside = side_by_side(bundle)
        ready = {server.peer.name: round(server.ready_s, 2) for server in started}
        ready["eclip, demo bundle"] = demo_ready(Path(scratch))
    found = {
        "machine": {"cores": cores(), "onnxruntime": onnxruntime.__version__},
        "agreement": agreement,
        "ready_s": ready,
        "side_by_side": beside,
        "ceilings": limits,
        "an_image": {p: where_it_goes(p, loads, limits[p], beside[p]) for p in limits},
        "loads": [asdict(one) for one in loads],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "serving.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(loads, limits).savefig(out / "serving.png", dpi=110)
    Console(width=140).print(as_table(loads), found["an_image"], limits, agreement, ready, beside)


def pictures() -> list[bytes]:
    """`IMAGES` distinct JPEGs."""
    found = []
    for index in range(IMAGES):
        file = io.BytesIO()
        image = Image.fromarray(phantom(PhantomConfig(size=SIDE, seed=11), index).image)
        image.save(file, "JPEG", quality=90)
        found.append(file.getvalue())
    return found


def make_model(folder: Path) -> tuple[Bundle, Path, Path]:
    """(our bundle with int8 graphs, open_clip's checkpoint, a Hugging Face folder) of one model."""
    torch.manual_seed(0)
    clip = from_open_clip(MODEL)
    torch.save(clip.model.state_dict(), folder / "weights.pt")
    write_hf_clip(clip.model, folder / "hf")
    labels = LabelSets.model_validate_json((CONFIGS / "chexpert.labels.json").read_bytes())
    bundle = write_bundle(
        clip, folder / "bundle", name="bench", bundle_version="1", label_sets=labels
    )
    for tower, small in INT8.items():
        quantise(bundle.path / tower, bundle.path / small)
    unmeasured = Int8(golden=bundle.manifest.golden, studies=1, overlap_at_10=0, decisions=0)
    sealed = seal(bundle.path, bundle.manifest.model_copy(update={"int8": unmeasured}))
    return sealed, folder / "weights.pt", folder / "hf"


def ours(bundle: Bundle, folder: Path) -> Iterator[Peer]:
    """Returns this service in both precisions, without its cache."""
    for precision in ("fp32", "int8"):
        yield Peer(
            f"eclip {precision}",
            lambda _: [sys.executable, "-m", "service.cli", "serve"],
            lambda image: post("/embed/image?encoding=base64", image, "image/jpeg"),
            lambda body: body["items"][0]["embedding"],
            {
                "ECLIP_BUNDLE": str(bundle.path),
                "ECLIP_DATA_DIR": str(folder / f"var-{precision}"),
                "ECLIP_PRECISION": precision,
                "ECLIP_CACHE_ITEMS": "0",
                "ECLIP_LOG_LEVEL": "warning",
            },
        )


def open_clip_peer(checkpoint: Path) -> Peer:
    """open_clip in a FastAPI thread pool."""
    module = "tests.benchmarks.peers.open_clip_fastapi"
    return Peer(
        "open_clip in FastAPI",
        lambda port: [sys.executable, "-m", module, str(checkpoint), str(port)],
        lambda image: post("/embed", image, "image/jpeg"),
        lambda body: body,
        {},
    )


def infinity_peer(command: Path, folder: Path) -> Peer:
    """infinity-emb with its torch engine."""

    def request(image: bytes) -> bytes:
        uri = "data:image/jpeg;base64," + base64.b64encode(image).decode()
        body = {"model": "bench", "input": [uri], "modality": "image", "encoding_format": "float"}
        return post("/embeddings", json.dumps(body).encode(), "application/json")

    options = "--engine torch --device cpu --dtype float32 --no-bettertransformer --batch-size 32"
    return Peer(
        "infinity-emb",
        lambda port: [
            str(command), "v2", "--model-id", str(folder), "--served-model-name", "bench",
            "--port", str(port), "--host", "127.0.0.1", *options.split(),
        ],
        request,
        lambda body: body["data"][0]["embedding"],
        {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"},
    )  # fmt: skip


def litserve_peer(python: Path, graph: Path) -> Peer:
    """Returns LitServe with the same graph."""
    script = Path(__file__).parent / "peers" / "litserve_onnx.py"

    def request(image: bytes) -> bytes:
        body = json.dumps({"image": base64.b64encode(image).decode()}).encode()
        return post("/predict", body, "application/json")

    return Peer(
        "LitServe",
        lambda port: [str(python), str(script), str(graph), str(port)],
        request,
        lambda body: body,
        {},
    )


@contextmanager
def running(peer: Peer, folder: Path) -> Iterator[Running]:
    """Starts the peer, yields it when its port answers, and ends it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = time.perf_counter()
    variables = os.environ | peer.environment | {"ECLIP_PORT": str(port)}
    with (folder / f"{peer.name}.log").open("wb") as log:
        process = subprocess.Popen(
            peer.command(port), env=variables, cwd=ROOT, stdout=log, stderr=log
        )
    started = Running(peer, process, port)
    try:
        _wait(started, process, Path(log.name))
        started.ready_s = time.perf_counter() - start
        yield started
    finally:
        started.end()
        process.wait()


def agree(servers: Sequence[Running], images: Sequence[bytes]) -> dict[str, float]:
    """Returns each server's least cosine to the first server's vectors; it must be near 1."""
    reference, cosines = None, {}
    for server in servers:
        requests = [server.peer.request(image) for image in images[:8]]
        answers = asyncio.run(closed_loop(server.port, requests, clients=1))
        vectors = np.stack([_unpacked(server.peer, answer) for answer in answers])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        reference = vectors if reference is None else reference
        cosines[server.peer.name] = round(float((vectors * reference).sum(axis=1).min()), 6)
    far = {name: cosine for name, cosine in cosines.items() if not cosine >= NEAR}
    if far:
        raise RuntimeError(f"these are not the same model: {far}")
    return cosines


def measure(
    servers: Sequence[Running], images: Sequence[bytes], rounds: int, seconds: float
) -> list[Load]:
    """Returns medians of every server under every load; servers take turns within a round."""
    kept: dict[tuple[str, str], list[Load]] = {}
    rates = {server.peer.name: 5.0 for server in servers}
    for number in range(rounds):
        for clients in CLIENTS:
            for server in servers:
                count = max(2 * clients, int(rates[server.peer.name] * seconds))
                found = under(server, f"{clients} clients", images, count, clients=clients)
                kept.setdefault((found.server, found.load), []).append(found)
                rates[server.peer.name] = found.per_second
        for share in LOADS:
            for server in servers:
                capacity = kept[server.peer.name, f"{AT_ONCE} clients"][number].per_second
                count = max(8, int(capacity * share * seconds))
                found = under(
                    server, f"{share:.0%} of capacity", images, count, rate=capacity * share
                )
                kept.setdefault((found.server, found.load), []).append(found)
    return [_median(found) for found in kept.values()]


def under(
    server: Running,
    load: str,
    images: Sequence[bytes],
    count: int,
    *,
    clients: int = 0,
    rate: float = 0.0,
) -> Load:
    """`count` images, by so many clients or at so many a second."""
    requests = [server.peer.request(images[at % len(images)]) for at in range(count)]
    with _highest(server.rss) as peak:
        cpu, asking, start = server.cpu_s(), time.process_time(), time.perf_counter()
        answers = asyncio.run(
            closed_loop(server.port, requests, clients)
            if clients
            else open_loop(server.port, requests, rate)
        )
        took = time.perf_counter() - start
        cpu, asking = server.cpu_s() - cpu, time.process_time() - asking
    good = [answer for answer in answers if answer.status == 200]
    times = sorted(answer.seconds * 1000 for answer in good) or [float("nan")]
    return Load(
        server=server.peer.name,
        load=load,
        per_second=len(good) / took,
        p50_ms=times[len(times) // 2],
        p99_ms=times[min(len(times) - 1, int(len(times) * 0.99))],
        cpu_ms=1000 * cpu / max(1, len(good)),
        asking_ms=1000 * asking / max(1, len(good)),
        rss_mb=peak[0] / 2**20,
        errors=count - len(good),
    )


def demo_ready(folder: Path) -> float:
    """Returns the median seconds, of five starts, until the demo bundle's first vector."""
    (peer, _) = ours(load(DEMO_BUNDLE), folder / "demo")
    times = []
    for _ in range(5):
        with running(peer, folder) as server:
            times.append(server.ready_s)
    return round(statistics.median(times), 2)


def ceilings(bundle: Bundle, images: Sequence[bytes], folder: Path) -> dict[str, dict[str, float]]:
    """Returns, by precision, CPU-milliseconds an image of each part, and the limit."""
    http = _http_ms(bundle, images, folder)
    limits, spec, preparing = {}, bundle.manifest.image, _cpu_ms(lambda: _prepare(images, bundle))
    pixels = np.stack([_pixels(image, spec) for image in images[:8]])
    for precision, graph, batch in (("fp32", IMAGE_TOWER, 8), ("int8", INT8[IMAGE_TOWER], 1)):
        session = _session(bundle.path / graph)

        def model(session: Any = session, batch: int = batch) -> None:
            for start in range(0, len(pixels), batch):
                session.run(["embedding"], {"pixels": pixels[start : start + batch]})

        parts = {
            "model": _cpu_ms(model) / len(pixels),
            "preprocess": preparing / len(images),
            "http": http,
        }
        total = sum(parts.values())
        limits[precision] = {k: round(v, 3) for k, v in parts.items()} | {
            "per_second": round(1000 * cores() / total, 2)
        }
    return limits


def side_by_side(bundle: Bundle, seconds: float = 3.0) -> dict[str, dict[str, float]]:
    """Returns, by precision, images a second of the bare session, with two ways to use cores."""
    found = {}
    for precision, graph, batch in (("fp32", IMAGE_TOWER, 8), ("int8", INT8[IMAGE_TOWER], 1)):
        spec = bundle.manifest.image
        pixels = np.zeros((batch, spec.height, spec.width), np.uint8)
        rates = {}
        for name, threads, callers in (("one call", cores(), 1), ("a call a core", 1, cores())):
            session = _session(bundle.path / graph, threads)
            rates[name] = round(batch * _calls_a_second(session, pixels, callers, seconds), 1)
        found[precision] = rates
    return found


def where_it_goes(
    precision: str, loads: Sequence[Load], parts: dict[str, float], beside: dict[str, float]
) -> dict[str, float]:
    """Returns CPU-milliseconds of all cores for an image at `AT_ONCE` clients, by stage."""
    (load,) = (
        one
        for one in loads
        if (one.server, one.load) == (f"eclip {precision}", f"{AT_ONCE} clients")
    )
    slower = 1000 * cores() / beside["a call a core"] - parts["model"]
    known = {
        "model, alone on the machine": parts["model"],
        "model, more of it as each core runs a call": slower,
        "preprocess": parts["preprocess"],
        "http": parts["http"],
    }
    rest = {
        "other, in the server": load.cpu_ms - sum(known.values()),
        "load generator": load.asking_ms,
        "idle": 1000 * cores() / load.per_second - load.cpu_ms - load.asking_ms,
    }
    return {name: round(value, 2) for name, value in (known | rest).items()}


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def as_table(loads: Sequence[Load]) -> Table:
    """Returns a table of every load, with its ratio to infinity-emb under the same load."""
    peers = {one.load: one.per_second for one in loads if one.server == "infinity-emb"}
    table = Table()
    for column in COLUMNS:
        table.add_column(column)
    for one in sorted(loads, key=lambda one: one.load):
        ratio = f"{one.per_second / peers[one.load]:.2f}" if one.load in peers else ""
        row = (one.load, one.server, f"{one.per_second:.1f}", ratio, f"{one.p50_ms:.0f}")
        rest = (f"{one.p99_ms:.0f}", f"{one.cpu_ms:.1f}", f"{one.rss_mb:.0f}", str(one.errors))
        table.add_row(*row, *rest)
    return table


def draw(loads: Sequence[Load], limits: dict[str, dict[str, float]]) -> Figure:
    """Draws images a second by clients, and the limits."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(one.server for one in loads):
        at = {one.load: one.per_second for one in loads if one.server == name}
        axes.plot(CLIENTS, [at[f"{clients} clients"] for clients in CLIENTS], "o-", label=name)
    for number, (precision, limit) in enumerate(limits.items()):
        axes.axhline(
            limit["per_second"], color=f"C{number}", linestyle=":", label=f"limit, {precision}"
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(CLIENTS, [str(clients) for clients in CLIENTS])
    axes.set_ylim(0)
    axes.set_xlabel("clients")
    axes.set_ylabel("images a second")
    axes.legend(fontsize="small")
    return figure


def _http_ms(bundle: Bundle, images: Sequence[bytes], folder: Path) -> float:
    """Returns CPU-milliseconds of an answer that needs no decoding and no model."""
    (peer, _) = ours(bundle, folder / "cached")
    known = {**peer.environment, "ECLIP_CACHE_ITEMS": "4096"}
    cached = Peer(peer.name, peer.command, peer.request, peer.vector, known)
    with running(cached, folder) as server:
        under(server, "", images, len(images), clients=1)
        return under(server, "", images, 1500, clients=AT_ONCE).cpu_ms


def _cpu_ms(function: Callable[[], None]) -> float:
    """Returns the least CPU-milliseconds of five calls, after one to warm up."""
    function()
    spent = []
    for _ in range(5):
        start = time.process_time()
        function()
        spent.append(1000 * (time.process_time() - start))
    return min(spent)


def _calls_a_second(
    session: Any, pixels: npt.NDArray[np.uint8], callers: int, seconds: float
) -> float:
    done, end = [0] * callers, time.perf_counter() + seconds

    def call(caller: int) -> None:
        while time.perf_counter() < end:
            session.run(["embedding"], {"pixels": pixels})
            done[caller] += 1

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(callers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - start)


def _session(path: Path, threads: int = 1) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _prepare(images: Sequence[bytes], bundle: Bundle) -> None:
    for image in images:
        _pixels(image, bundle.manifest.image)


def _pixels(image: bytes, spec: ImageSpec) -> npt.NDArray[np.uint8]:
    return preprocess(decode(image, ImageLimits()).pixels, spec)


def _unpacked(peer: Peer, answer: Answer) -> FloatArray:
    if answer.status != 200:
        raise RuntimeError(f"{peer.name} answered {answer.status}: {answer.body[:300]!r}")
    vector = peer.vector(json.loads(answer.body))
    if isinstance(vector, str):
        return np.frombuffer(base64.b64decode(vector), "<f4").copy()
    return np.array(vector, np.float32)


def _median(found: Sequence[Load]) -> Load:
    middle = {
        name: statistics.median(getattr(one, name) for one in found)
        for name in ("per_second", "p50_ms", "p99_ms", "cpu_ms", "asking_ms")
    }
    rounded = {name: round(value, 2) for name, value in middle.items()}
    rss = round(max(one.rss_mb for one in found))
    errors = sum(one.errors for one in found)
    return Load(found[0].server, found[0].load, **rounded, rss_mb=rss, errors=errors)


@contextmanager
def _highest(measure_rss: Callable[[], int]) -> Iterator[list[int]]:
    """Records the highest value of a measurement that is taken once a second."""
    peak, stop = [measure_rss()], threading.Event()

    def watch() -> None:
        while not stop.wait(1.0):
            peak[0] = max(peak[0], measure_rss())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def _wait(server: Running, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    probe = [server.peer.request(RADIOGRAPH.read_bytes())]
    while time.monotonic() < end and process.poll() is None:
        if asyncio.run(closed_loop(server.port, probe, clients=1))[0].status == 200:
            return
        time.sleep(0.05)
    raise RuntimeError(f"{server.peer.name} did not start:\n{log.read_text()[-2000:]}")


if __name__ == "__main__":
    typer.run(main)
