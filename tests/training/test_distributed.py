"""Two processes on gloo train as one: the same mean loss, the same gradients."""

import os
import socket
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from tests.conftest import ROOT
from tests.training.conftest import SIDE, TEXT, timm, vit
from training.methods import METHODS
from training.model.clip import Clip
from training.model.expert_clip import ExpertCLIP
from training.model.heatmap import HeatmapProcessor
from training.model.pixels import Normalisation
from training.objective import Contrastive

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

    def forward(self, pixels, tokens, heatmaps, share):
        half = len(pixels) // 2
        experts = METHODS["eclip"].expert_pixels(
            self.expert_clip, pixels[half:], heatmaps[half:], share[half:]
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


def test_a_run_on_two_processes_is_the_run_on_one(tmp_path):
    """The whole trainer: experts, priming and augmentation included."""
    small = [
        "method=eclip", "augment=true", "data.train=96", "data.validation=32", "data.test=1",
        "data.size=48", "epochs=4", "batch_size=16", "checkpoint_every=6", "expert.patch=8",
        "expert.width=32", "expert.batch=4", "expert.sigma={size: 3, unit: pixel}",
    ]  # fmt: skip
    states = []
    for devices in (1, 2):
        run = tmp_path / str(devices)
        command = [sys.executable, "-m", "training.cli", "fit", "phantom-tiny", str(run)]
        arguments = [*command, *small, f"devices={devices}"]
        subprocess.run(arguments, cwd=ROOT, check=True, timeout=200, capture_output=True)
        states.append(torch.load(run / "last.ckpt", weights_only=True))
    one, two = (state["state_dict"] for state in states)
    assert one.keys() == two.keys()
    assert states[0]["global_step"] == states[1]["global_step"] == 24
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-3, rtol=2e-2)
