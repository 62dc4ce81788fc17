"""Two processes on gloo train as one: the same mean loss, the same gradients."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from tests.support.paths import ROOT
from tests.training.conftest import SIDE, TEXT, timm, vit
from training.fit.objective import Contrastive
from training.model.clip import Clip
from training.model.expert_clip import ExpertCLIP
from training.model.heatmap import HeatmapProcessor
from training.model.pixels import Normalisation
from training.model.views import expert_pixels
from training.recipe.methods import METHODS

pytestmark = pytest.mark.slow

MODELS = {"softmax": vit, "sigmoid": lambda: timm("test_vit", init_logit_bias=-5.0)}
COUNT = 8


class Loss(torch.nn.Module):
    """Pairs and experts → the rank's loss; a module, so that DDP can wrap it."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        model = MODELS[kind]()
        side = SIDE if kind == "softmax" else 160
        clip = Clip(model, None, TEXT["context_length"], None, Normalisation())
        processor = HeatmapProcessor((side, side), patch=16, width=32, heads=2)
        self.expert_clip, self.side = ExpertCLIP(clip, processor), side

    def forward(self, pixels, tokens, heatmaps, weight):
        half = len(pixels) // 2
        experts = expert_pixels(
            METHODS["eclip"].view, self.expert_clip, pixels[half:], heatmaps[half:], weight[half:]
        )
        joined = torch.cat([pixels[:half].float(), experts])
        objective = Contrastive(self.expert_clip.model)
        images, texts = self.expert_clip.images(joined), self.expert_clip.texts(tokens)
        return objective(images, texts, self.expert_clip.model)


def data(side):
    draw = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (COUNT, side, side), generator=draw, dtype=torch.uint8)
    tokens = torch.randint(3, 400, (COUNT, TEXT["context_length"]), generator=draw)
    heatmaps = torch.rand(COUNT, side, side, generator=draw)
    return pixels, tokens, heatmaps, torch.rand(COUNT, generator=draw)


def gradients(module):
    return {n: p.grad for n, p in module.named_parameters() if p.grad is not None}


def train_a_step(rank, world_size, port, kind, folder):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    module = Loss(kind)
    parallel = DistributedDataParallel(module)
    loss = parallel(*(part[rank::world_size] for part in data(module.side)))
    loss.backward()
    torch.save((loss.detach(), gradients(module)), folder / f"{rank}.pt")
    dist.destroy_process_group()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("kind", MODELS)
def test_two_processes_have_one_process_loss_and_gradients(tmp_path, kind):
    mp.spawn(train_a_step, (2, free_port(), kind, tmp_path), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    module = Loss(kind)
    alone = module(*data(module.side))
    alone.backward()
    mean = torch.stack([loss for loss, _ in ranks]).mean()
    assert abs(mean - alone.detach()) <= 1e-6 * max(1, abs(alone.detach()))
    for name, gradient in gradients(module).items():
        for _, theirs in ranks:
            torch.testing.assert_close(theirs[name], gradient, atol=1e-5, rtol=1e-4)


SMALL = [
    "data.augment=true", "data.train=96", "data.validation=32", "data.test=1",
    "data.size=48", "optimiser.epochs=4", "optimiser.batch_size=16", "run.checkpoint_every=6",
    "expert.patch=8", "expert.width=32", "expert.share=1", "expert.batch=4",
    "expert.sigma={size: 3, unit: pixel}",
]  # fmt: skip


def fit(run, *overrides, through=()):
    """The processes that train, each with a session of its own."""
    command = [sys.executable, *through, "-m", "training.cli", "fit", "phantom-tiny", str(run)]
    return subprocess.Popen(
        [*command, *SMALL, *overrides],
        cwd=ROOT,
        env=os.environ | {"GLOO_SOCKET_IFNAME": "lo"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(*processes):
    """Wait for all; none outlives the test."""
    try:
        for process in processes:
            _, complaint = process.communicate(timeout=200)
            assert process.returncode == 0, complaint.decode()
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # torchrun ends its workers with itself
            process.communicate(timeout=60)


def on_two_processes(run, *overrides):
    finish(fit(run, *overrides, "run.devices=2"))


def on_two_nodes(run, *overrides):
    """As on two machines with one file system, but on this one."""
    torchrun = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    place = ["--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    finish(
        *(
            fit(run, *overrides, "run.nodes=2", through=[*torchrun, *place, f"--node-rank={node}"])
            for node in range(2)
        )
    )


def last_state(run):
    return torch.load(run / "last.ckpt", weights_only=True)


def equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What a run on one process ends with."""
    run = tmp_path_factory.mktemp("alone") / "run"
    finish(fit(run, "method=eclip"))
    return last_state(run)


@pytest.mark.parametrize("train", [on_two_processes, on_two_nodes])
def test_a_run_on_several_is_the_run_on_one(tmp_path, alone, train):
    """The whole trainer: experts, priming and augmentation included."""
    train(tmp_path / "run", "method=eclip")
    together = last_state(tmp_path / "run")
    assert alone["state_dict"].keys() == together["state_dict"].keys()
    assert alone["global_step"] == together["global_step"] == 24
    assert not equal(alone["state_dict"], together["state_dict"])  # the ranks' sums differ a little
    for name, value in alone["state_dict"].items():
        torch.testing.assert_close(together["state_dict"][name], value, atol=2e-3, rtol=2e-2)
