"""Writes small random models in the layout that transformers publishes: weights, processor, tokens.

Tokenizers are learned from phantoms' reports, but for CLIP's own, which open_clip brings.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import open_clip
import sentencepiece
import tokenizers
import torch
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from training.data.phantom import PhantomConfig, phantom

SIDE = 64
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
VISION = TOWER | {"image_size": SIDE, "patch_size": 16}
SQUARE = {"height": SIDE, "width": SIDE}


def clip(folder: Path) -> None:
    """CLIPModel: the shorter side is scaled, the centre cropped, and 77 tokens are read."""
    bpe = open_clip.SimpleTokenizer()
    special = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {special.get(token, token): at for token, at in bpe.encoder.items()}
    merges = sorted(bpe.bpe_ranks, key=bpe.bpe_ranks.__getitem__)
    transformers.CLIPTokenizer(vocabulary, merges, model_max_length=77).save_pretrained(folder)
    text = {"vocab_size": len(vocabulary), "eos_token_id": vocabulary["<|endoftext|>"]}
    config = transformers.CLIPConfig(
        text_config=TOWER | text, vision_config=VISION, projection_dim=24
    )
    save(transformers.CLIPModel(config), folder)
    transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SQUARE).save_pretrained(
        folder
    )


def siglip(folder: Path) -> None:
    """SiglipModel with SentencePiece's tokenizer: 64 tokens, padded, without a mask."""
    folder.mkdir(exist_ok=True)
    spiece = folder / "spiece.model"
    with spiece.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(report.lower() for report in reports()),
            model_writer=file,
            vocab_size=200,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    tokenizer = transformers.SiglipTokenizer(str(spiece), model_input_names=["input_ids"])
    tokenizer.save_pretrained(folder)
    save_siglip(folder, tokenizer.vocab_size)


def siglip2(folder: Path) -> None:
    """A SigLIP 2 of fixed resolution: a SiglipModel with Gemma's kind of tokenizer."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=[*special, *bytes_], show_progress=False
    )
    backend.train_from_iterator(reports(), trainer)
    learned = json.loads(backend.to_str())["model"]
    tokenizer = transformers.GemmaTokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
        model_input_names=["input_ids"],
    )
    tokenizer.save_pretrained(folder)
    save_siglip(folder, len(tokenizer))


def dual_encoder(folder: Path) -> None:
    """VisionTextDualEncoderModel of a ViT and a BERT, which is given a mask, as BiomedCLIP's is."""
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    backend.train_from_iterator(reports(), trainer)
    tokenizer = transformers.BertTokenizer(vocab=backend.get_vocab(), model_max_length=48)
    tokenizer.save_pretrained(folder)
    text = transformers.BertConfig(**TOWER, vocab_size=len(tokenizer), max_position_embeddings=64)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        transformers.ViTConfig(**VISION), text, projection_dim=24
    )
    save(transformers.VisionTextDualEncoderModel(config), folder)
    transformers.ViTImageProcessor(size=SQUARE).save_pretrained(folder)


def dinov2(folder: Path) -> None:
    """Dinov2Model, whose images are cropped from larger ones and smaller than its positions say."""
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=98, patch_size=14
    )
    save(transformers.Dinov2Model(config), folder)
    crop = {"height": 70, "width": 70}
    transformers.BitImageProcessor(size={"shortest_edge": 80}, crop_size=crop).save_pretrained(
        folder
    )


def vit(folder: Path, *, pooler: bool = True, side: int = SIDE) -> None:
    """ViTModel with its pooler, or without, as DINO's are published."""
    config = transformers.ViTConfig(**VISION | {"image_size": side})
    save(transformers.ViTModel(config, add_pooling_layer=pooler), folder)
    processor = transformers.ViTImageProcessor(size={"height": side, "width": side})
    processor.save_pretrained(folder)


PUBLISHED: dict[str, Callable[[Path], None]] = {
    "CLIP": clip,
    "SigLIP": siglip,
    "SigLIP 2": siglip2,
    "dual encoder": dual_encoder,
    "DINOv2": dinov2,
    "ViT": vit,
    "ViT without pooler": lambda folder: vit(folder, pooler=False),
}


def save_siglip(folder: Path, vocabulary: int) -> None:
    """Writes a SiglipModel and its processor."""
    text = TOWER | {"vocab_size": vocabulary, "projection_size": TOWER["hidden_size"]}
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION)
    save(transformers.SiglipModel(config), folder)
    transformers.SiglipImageProcessor(size=SQUARE).save_pretrained(folder)


def save(model: torch.nn.Module, folder: Path) -> None:
    """Writes a model whose vectors differ, which transformers' random weights hardly do."""
    draw = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)
    model.save_pretrained(folder)


def reports() -> Iterator[str]:
    """Yields reports of phantoms."""
    return (phantom(PhantomConfig(size=32), index).study.report for index in range(60))
