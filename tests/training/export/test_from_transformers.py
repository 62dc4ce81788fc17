"""Models of transformers against the library's own processor, tokenizer and vectors."""

import csv
import json
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from PIL import Image
from rich.console import Console
from rich.table import Table

from service.bundle.manifest import IMAGE_TOWER, TEXT_TOWER, TOKENIZER, Bundle, load
from service.bundle.preprocess import preprocess
from tests.support.paths import ROOT
from tests.training.published import PUBLISHED, reports
from training.data.phantom import PhantomConfig, phantom
from training.export.export import Export
from training.export.graphs import RANKED, TOLERANCE, same_ranking
from training.model.transformers_model import IMAGES_ALONE, TAKEN
from training.recipe import CONFIGS

pytestmark = pytest.mark.slow

LABELS = CONFIGS / "chexpert.labels.json"
WITH_TEXT_MAP = ("CLIP", "SigLIP", "SigLIP 2")
"""Images alone have no map of a text, nor has the dual encoder: its ViT's pooler is not linear."""
SENTENCES = 2_000
RADIOGRAPHS = 32


@dataclass(frozen=True)
class Case:
    """A published model: as the library loads it, and as a bundle."""

    kind: str
    folder: Path
    bundle: Bundle

    @property
    def model(self):
        kind = json.loads((self.folder / "config.json").read_text())["model_type"]
        more = {"add_pooling_layer": False} if self.kind == "ViT without pooler" else {}
        return TAKEN[kind].from_pretrained(self.folder, **more).eval()

    @property
    def reads_text(self):
        return not isinstance(self.model, tuple(IMAGES_ALONE.values()))

    def library_images(self, pictures, backend):
        processor = transformers.AutoImageProcessor.from_pretrained(self.folder, backend=backend)
        pixels = torch.cat(
            [processor(each, return_tensors="pt")["pixel_values"] for each in pictures]
        )
        if self.reads_text:
            return unit(self.model.get_image_features(pixel_values=pixels).pooler_output)
        answer = self.model(pixel_values=pixels)
        pooled = answer.pooler_output
        return unit(answer.last_hidden_state[:, 0] if pooled is None else pooled)

    def library_tokens(self, texts):
        """As each model's documentation says: padded to the full length, or to the longest."""
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder)
        limit = self.bundle.manifest.context_length
        return tokenizer(
            texts, padding="max_length", truncation=True, max_length=limit, return_tensors="pt"
        )

    def images(self, pictures):
        pixels = [
            preprocess(np.array(each.convert("L")), self.bundle.manifest.image) for each in pictures
        ]
        return run(self.bundle, IMAGE_TOWER, np.stack(pixels))


def unit(vectors):
    return torch.nn.functional.normalize(vectors, dim=-1).detach().numpy()


def run(bundle, tower, inputs):
    session = onnxruntime.InferenceSession(bundle.path / tower)
    return session.run(["embedding"], {session.get_inputs()[0].name: inputs})[0]


def equal_rankings(ours, theirs):
    """Says for how many images the ten most similar images are the same, in the same order."""
    first, second = (np.argsort(-(v @ v.T), axis=1)[:, :RANKED] for v in (ours, theirs))
    return f"{(first == second).all(axis=1).sum()} of {len(ours)}"


@pytest.fixture(scope="module", params=PUBLISHED)
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "model"
    torch.manual_seed(0)
    PUBLISHED[request.param](folder)
    exported = Export(LABELS)(f"transformers:{folder}", folder.parent / "bundle")
    return Case(request.param, folder, load(exported.bundle.path))


@pytest.fixture(scope="module")
def pictures():
    """Gray radiographs, upright, wide and square."""
    images = (phantom(PhantomConfig(size=96), index).image for index in range(RADIOGRAPHS))
    return [
        Image.fromarray(image[: 96 - 3 * (at % 5), : 96 - 5 * (at % 4)]).convert("RGB")
        for at, image in enumerate(images)
    ]


@pytest.fixture(scope="module")
def sentences():
    """Of real reports where a developer has them, else of phantoms'."""
    path = ROOT.parent / "shared" / "data" / "open_i" / "reports.csv"
    if not path.exists():
        return [sentence for text in reports() for sentence in split(text)]
    with path.open(encoding="utf-8", newline="") as file:
        texts = [f"{row['findings']} {row['impression']}" for row in csv.DictReader(file)]
    return list(islice((each for text in texts for each in split(text)), SENTENCES))


def split(report):
    return [sentence for sentence in re.split(r"(?<=\.)\s+", report.strip()) if sentence]


@pytest.fixture(scope="module")
def table():
    """Shown at the end, whatever is captured meanwhile."""
    rows = Table("model", "images", "its ranking", "images, torchvision", "its ranking", "texts")
    rows.add_column("equal tokens")
    yield rows
    Console(width=120).print(rows)


def test_vectors_tokens_and_rankings_are_the_librarys(case, pictures, sentences, table):
    with torch.no_grad():
        theirs = case.library_images(pictures, "pil")
        default = case.library_images(pictures, None)
    ours = case.images(pictures)
    gap = np.abs(ours - theirs).max()
    assert gap <= TOLERANCE
    assert same_ranking(ours @ ours.T, theirs @ theirs.T)
    cells = [
        cell
        for vectors in (theirs, default)
        for cell in (f"{np.abs(ours - vectors).max():.1e}", equal_rankings(ours, vectors))
    ]
    if case.reads_text:
        tokens = case.library_tokens(sentences)
        mine = case.bundle.tokenizer(sentences).ids
        equal = (mine == tokens["input_ids"].numpy()).all(axis=1)
        few = {name: value[:64] for name, value in tokens.items()}
        with torch.no_grad():
            text = unit(case.model.get_text_features(**few).pooler_output)
        read = run(case.bundle, TEXT_TOWER, mine[:64])
        text_gap = np.abs(read - text).max()
        assert equal.all()
        assert text_gap <= TOLERANCE
        assert same_ranking(ours @ read.T, theirs @ text.T)
        cells += [f"{text_gap:.1e}", f"{equal.sum()} of {len(sentences)}"]
    table.add_row(case.kind, *cells)


def test_the_manifest_says_what_was_exported(case):
    manifest = case.bundle.manifest
    facts = manifest.provenance
    assert facts["transformers_model"] == "model"
    assert facts["transformers_class"] == type(case.model).__name__
    assert facts["transformers"] == transformers.__version__
    assert str(case.folder.parent) not in (case.bundle.path / "bundle.json").read_text()
    assert manifest.name == "model"
    assert manifest.has_text == case.reads_text
    scale = getattr(case.model, "logit_scale", None)
    bias = getattr(case.model, "logit_bias", None)
    assert manifest.logit_scale == pytest.approx(1 if scale is None else scale.exp().item())
    assert manifest.logit_bias == pytest.approx(0 if bias is None else bias.item())
    if case.kind.startswith("ViT"):
        assert facts["image_vector"] == ("pooler" if case.kind == "ViT" else "class token")
    text_map = ("text",) if case.kind in WITH_TEXT_MAP else ()
    assert manifest.maps == ("attention", *text_map)
    golden = manifest.golden
    of_text = (manifest.context_length, golden.text, golden.text_embedding)
    assert {value is not None for value in of_text} == {case.reads_text}
    assert ({TEXT_TOWER, TOKENIZER} <= set(manifest.files)) == case.reads_text
    assert bool(case.bundle.label_sets.root) == case.reads_text
    assert ("encodes images alone" in case.bundle.model_card) != case.reads_text
