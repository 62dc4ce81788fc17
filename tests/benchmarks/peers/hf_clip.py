"""Writes an open_clip ViT-B-32 as a Hugging Face CLIP folder, which infinity-emb loads."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

STANDALONE = {
    "logit_scale": "logit_scale",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
TRANSPOSED = {
    "text_projection": "text_projection.weight",
    "visual.proj": "visual_projection.weight",
}
IN_BLOCKS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def write_hf_clip(model: open_clip.CLIP, folder: Path) -> None:
    """Writes weights, configuration, image processor and tokenizer of the same function."""
    tower = {"hidden_act": "gelu", "projection_dim": 512}
    clip = CLIPModel(
        CLIPConfig(
            text_config={**tower, "eos_token_id": 49407},
            vision_config=tower,
            projection_dim=512,
        )
    )
    clip.load_state_dict(dict(renamed(model.state_dict())))
    clip.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 224}, crop_size=224).save_pretrained(folder)
    write_tokenizer(folder)


def renamed(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yields open_clip's tensors under transformers' names."""
    for name, tensor in state.items():
        if name in STANDALONE:
            yield STANDALONE[name], tensor
        elif name in TRANSPOSED:
            yield TRANSPOSED[name], tensor.T.contiguous()
        else:
            yield from _in_block(name, tensor)


def write_tokenizer(folder: Path) -> None:
    """Writes open_clip's merges in the form of a Hugging Face CLIPTokenizer."""
    ours = SimpleTokenizer()
    vocabulary = {
        token.replace("<start_of_text>", "<|startoftext|>"): at
        for token, at in ours.encoder.items()
    }
    vocabulary = {
        token.replace("<end_of_text>", "<|endoftext|>"): at for token, at in vocabulary.items()
    }
    merges = ["#version: 0.2", *(" ".join(pair) for pair in ours.bpe_ranks)]
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    kinds = {"unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "model_max_length": 77}
    settings = {**special, **kinds, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _in_block(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    tower = "vision_model" if name.startswith("visual.") else "text_model"
    number, _, rest = name.partition("resblocks.")[2].partition(".")
    block = f"{tower}.encoder.layers.{number}"
    part, _, kind = rest.rpartition(".")
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        for letter, third in zip("qkv", torch.chunk(tensor, 3), strict=True):
            yield f"{block}.self_attn.{letter}_proj.{kind}", third.contiguous()
    else:
        yield f"{block}.{IN_BLOCKS[part]}.{kind}", tensor
