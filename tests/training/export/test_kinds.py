"""Every kind of open_clip model: three steps as eclip, exported, within tolerance of torch."""

import json

import open_clip
import pytest
import torch
import transformers
from rich.console import Console
from rich.table import Table
from torch import nn

from service.bundle.manifest import load
from service.bundle.preprocess import ImageSpec
from tests.training.conftest import CONTEXT, DIMENSION, NORMALISATION, SIDE, TEXT, VIT
from tests.training.conftest import resnet as small_resnet
from tests.training.conftest import timm as small_timm
from tests.training.conftest import vit as small_vit
from training.export.bundle import write_bundle
from training.export.graphs import TOLERANCE
from training.fit.objective import Contrastive
from training.model.clip import PUBLISHED, Clip, is_open_clip_model
from training.model.expert_clip import ExpertCLIP
from training.model.heatmap import HeatmapProcessor
from training.model.views import expert_pixels
from training.recipe.methods import METHODS

pytestmark = pytest.mark.slow

BATCH = 4


def save_bert(folder):
    config = transformers.BertConfig(
        vocab_size=TEXT["vocab_size"],
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
    transformers.BertModel(config).save_pretrained(folder)


def bert_text(folder):
    """A vision transformer with a Hugging Face text tower, as BiomedCLIP is built."""
    save_bert(folder)
    text = {
        "hf_model_name": str(folder),
        "hf_model_pretrained": False,
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "hf_proj_type": "mlp",
        "context_length": CONTEXT,
    }
    return open_clip.model.CustomTextCLIP(DIMENSION, VIT, text)


def coca(_):
    """CoCa, of which the contrastive part is trained."""
    multimodal = {
        "context_length": CONTEXT,
        "vocab_size": TEXT["vocab_size"],
        "width": 32,
        "heads": 2,
        "layers": 1,
    }
    vision = VIT | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    text = TEXT | {"embed_cls": True, "output_tokens": True}
    return open_clip.CoCa(DIMENSION, multimodal, text, vision)


def siglip(_):
    """SigLIP with timm's attention pooler, which is the end of its tower, and a bias."""
    vision = {
        "image_size": 160,
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "map",
        "timm_proj": "none",
    }
    return open_clip.model.CustomTextCLIP(64, vision, TEXT, init_logit_bias=-10.0)


KINDS = {
    "ViT": lambda _: small_vit(),
    "ModifiedResNet": lambda _: small_resnet(),
    "ConvNeXt (timm)": lambda _: small_timm("test_convnext"),
    "Hugging Face text": bert_text,
    "class token (timm)": lambda _: small_timm("test_vit", "token"),
    "SigLIP with bias (timm)": siglip,
    "CoCa": coca,
}


def three_steps(clip: Clip) -> tuple[list[float], ExpertCLIP]:
    """The losses of three steps in which experts join and the processor is primed."""
    side = clip.image.height
    model = ExpertCLIP(clip, HeatmapProcessor((side, side), width=32, heads=2))
    objective = Contrastive(clip.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    draw = torch.Generator().manual_seed(0)
    losses = []
    for step in range(3):
        pixels = torch.randint(0, 256, (BATCH, side, side), generator=draw, dtype=torch.uint8)
        heatmaps = torch.rand(BATCH, side, side, generator=draw)
        tokens = torch.from_numpy(clip.tokenizer([f"Report {step} {i}." for i in range(BATCH)]).ids)
        weight = torch.rand(BATCH, generator=draw)
        experts = expert_pixels(METHODS["eclip"].view, model, pixels, heatmaps, weight)
        images = model.images(torch.cat([pixels.float(), experts]))
        loss = objective(images, model.texts(torch.cat([tokens, tokens])), clip.model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model


@pytest.fixture(scope="module")
def table():
    """Shown at the end, whatever is captured meanwhile."""
    rows = Table("model", "loss of three steps as eclip", "maps", "grid", "largest |ONNX − torch|")
    yield rows
    capture = Console(width=100)
    capture.print(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_as_eclip_and_exports_within_tolerance(
    kind, tokenizer, label_sets, tmp_path, table
):
    torch.manual_seed(0)
    model: nn.Module = KINDS[kind](tmp_path / "text")
    side = 160 if "timm" in kind else SIDE
    clip = Clip(model, tokenizer, CONTEXT, ImageSpec(height=side, width=side), NORMALISATION)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses, expert_clip = three_steps(clip)
    assert all(torch.tensor(losses).isfinite())
    trained = [n for n, v in model.state_dict().items() if not torch.equal(v, before[n])]
    assert any(name.startswith("visual.") for name in trained)
    assert any("token_embedding" in name or "word_embeddings" in name for name in trained)
    assert all(p.grad is not None for p in expert_clip.processor.parameters())
    bundle = write_bundle(
        clip, tmp_path / "bundle", name="kind", bundle_version="1", label_sets=label_sets
    )
    manifest = load(bundle.path).manifest
    difference = manifest.provenance["parity_max_abs_difference"]
    assert difference <= TOLERANCE
    losses_in_words = ", ".join(f"{loss:.3f}" for loss in losses)
    grid = "×".join(map(str, manifest.patch_grid or ()))
    table.add_row(kind, losses_in_words, ", ".join(manifest.maps), grid, f"{difference:.1e}")
    assert manifest.maps == (("text",) if "ConvNeXt" in kind else ("attention", "text"))


@pytest.mark.parametrize("name", ["swin-t-bioclinicalbert", "swin-t-bioclinicalbert-cls"])
def test_the_papers_model_is_built_trained_and_exported(tmp_path, tokenizer, label_sets, name):
    """Swin-T and a BERT, the latter small and of no weights, as no hub can be reached here."""
    config = json.loads((PUBLISHED / f"{name}.json").read_text())
    names = {"hf_model_name", "hf_tokenizer_name"}
    text = {key: value for key, value in config["text_cfg"].items() if key not in names}
    save_bert(tmp_path / "bert")
    model = open_clip.model.CustomTextCLIP(
        config["embed_dim"],
        config["vision_cfg"] | {"timm_model_pretrained": False},
        text | {"hf_model_name": str(tmp_path / "bert"), "hf_model_pretrained": False},
    )
    clip = Clip(model, tokenizer, CONTEXT, ImageSpec(height=224, width=224), NORMALISATION)
    losses, _ = three_steps(clip)
    assert all(torch.tensor(losses).isfinite())
    bundle = write_bundle(
        clip, tmp_path / "b", name="swin", bundle_version="1", label_sets=label_sets
    )
    assert bundle.manifest.provenance["parity_max_abs_difference"] <= TOLERANCE
    assert bundle.manifest.patches == "class_activation"
    assert bundle.manifest.patch_grid == (7, 7)
    assert is_open_clip_model(name)
