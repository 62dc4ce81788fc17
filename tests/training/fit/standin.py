"""A small Swin and a small BERT in the layouts of their publishers, and pairs with gaze."""

import json
import string
from dataclasses import replace
from pathlib import Path

import timm
import torch
import transformers
from PIL import Image
from timm.models import save_for_hf

from training.data.phantom import PhantomConfig, phantom
from training.data.study import write_studies
from training.model.clip import PUBLISHED

SIDE, TRAIN, VALIDATION = 64, 80, 16
SWIN = {
    "img_size": SIDE,
    "window_size": 4,
    "embed_dim": 8,
    "depths": (1, 1, 1, 1),
    "num_heads": (1, 1, 2, 2),
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def save_models(folder: Path) -> None:
    """Write the published models' configs with small towers, in `folder`, at the same names."""
    torch.manual_seed(0)
    swin = timm.create_model("swin_tiny_patch4_window7_224", **SWIN)
    save_for_hf(swin, folder / "swin", model_args=SWIN, safe_serialization=True)
    _save_bert(folder / "bert")
    for path in PUBLISHED.glob("*.json"):
        config = json.loads(path.read_text())
        config["vision_cfg"] |= {
            "image_size": SIDE,
            "timm_model_name": f"local-dir:{folder / 'swin'}",
        }
        config["text_cfg"] |= dict.fromkeys(
            ("hf_model_name", "hf_tokenizer_name"), str(folder / "bert")
        )
        (folder / path.name).write_text(json.dumps(config))


def _save_bert(folder: Path) -> None:
    letters = string.ascii_lowercase + string.digits + string.punctuation
    vocabulary = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
    transformers.BertModel(config).save_pretrained(folder)


def save_pairs(folder: Path) -> Path:
    """Write radiographs with reports and gaze, and their manifest."""
    studies = []
    for index in range(TRAIN + VALIDATION):
        drawn = phantom(PhantomConfig(size=SIDE), index)
        Image.fromarray(drawn.image).save(folder / f"{index}.png")
        split = "train" if index < TRAIN else "validation"
        studies.append(replace(drawn.study, images=(f"{index}.png",), split=split))
    write_studies(folder / "studies.jsonl", studies)
    return folder / "studies.jsonl"
