"""A run's folder: whose it is, and what is loaded from it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.drafts import leave_drafts
from tests.training.conftest import changed
from training.fit.trainer import fit
from training.model.pixels import NormalisePixels
from training.recipe import ModelSpec, PixelStatistics, RecipeError
from training.run.folder import RECIPE, WholeCheckpoints, load_run
from training.run.models import image_input, open_clip_model


def test_a_run_of_another_recipe_is_refused_and_left_alone(finished, tiny_recipe):
    files = {path: path.stat().st_mtime_ns for path in finished.run.rglob("*")}
    with pytest.raises(RecipeError, match="another recipe"):
        fit(changed(tiny_recipe, optimiser={"weight_decay": 0.3}), finished.run)
    assert {path: path.stat().st_mtime_ns for path in finished.run.rglob("*")} == files


def test_a_run_normalises_pixels_as_its_recipe_says(finished, tiny_recipe, tmp_path):
    run = Path(shutil.copytree(finished.run, tmp_path / "run"))
    pixels = PixelStatistics(mean=0.58, std=0.26)
    recipe = changed(tiny_recipe, model={"pixels": pixels})
    (run / RECIPE).write_text(recipe.model_dump_json())
    _, loaded = load_run(run)
    black_and_white = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    normalised = NormalisePixels(loaded.normalisation)(black_and_white)
    expected = torch.tensor([-0.58 / 0.26, 0.42 / 0.26]).expand(1, 3, 1, 2)
    torch.testing.assert_close(normalised, expected)
    opened = open_clip_model(ModelSpec(name="RN50", pixels=pixels))
    assert opened.normalisation == loaded.normalisation


def test_a_loaded_run_encodes_as_the_trained_model(finished, tiny_recipe):
    recipe, loaded = load_run(finished.run)
    assert recipe == tiny_recipe
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    texts = ["No pneumothorax.", "Left effusion.", ""]
    tokens = loaded.tokenizer(texts).ids
    np.testing.assert_array_equal(tokens, finished.clip.tokenizer(texts).ids)
    with torch.no_grad():
        for clip in (loaded, finished.clip):
            clip.model.eval()
        assert torch.equal(
            loaded.model.encode_image(images), finished.clip.model.encode_image(images)
        )
        assert torch.equal(
            loaded.model.encode_text(torch.from_numpy(tokens)),
            finished.clip.model.encode_text(torch.from_numpy(tokens)),
        )
    assert loaded.provenance["recipe"]["seed"] == tiny_recipe.seed


def test_what_a_run_tells_of_its_recipe_names_no_folder(finished, tiny_recipe, tmp_path):
    run = shutil.copytree(finished.run, tmp_path / "run")
    data = {"cache": Path("/home/someone/phantoms")}
    private = changed(tiny_recipe, data=data, model={"start": Path("/home/someone/first")})
    (run / RECIPE).write_text(private.model_dump_json())
    recipe, loaded = load_run(run)
    assert recipe == private
    told = loaded.provenance["recipe"]
    assert (told["data"]["cache"], told["model"]["start"]) == ("phantoms", "first")
    assert "someone" not in json.dumps(loaded.provenance)


@pytest.mark.slow
def test_a_bundle_takes_images_as_its_run_did(rendered, tiny_recipe, tmp_path):
    recipe = changed(tiny_recipe, model={"reducing_gap": 2.0}, optimiser={"epochs": 1})
    run = shutil.copytree(rendered, tmp_path / "run")
    trained = fit(recipe, run).image
    assert trained.reducing_gap == 2
    assert trained == image_input(recipe.model) == load_run(run)[1].image


def test_a_checkpoint_that_could_not_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"step": 1}, path)

    def full(path):
        Path(path).write_bytes(b"half")
        raise OSError("no space")

    base = "pytorch_lightning.plugins.io.TorchCheckpointIO.save_checkpoint"
    monkeypatch.setattr(base, lambda _, __, draft, *___: full(draft))
    with pytest.raises(OSError, match="no space"):
        WholeCheckpoints().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}


def test_a_checkpoint_removes_what_killed_ones_left(tmp_path):
    path = tmp_path / "last.ckpt"
    for step in (1, 2):
        leave_drafts(path)
        WholeCheckpoints().save_checkpoint({"step": step}, path)
        assert list(tmp_path.iterdir()) == [path]
    assert torch.load(path, weights_only=True) == {"step": 2}


def test_a_run_of_an_earlier_version_says_what_to_do(finished, tmp_path):
    run = shutil.copytree(finished.run, tmp_path / "run")
    flat = {"name": "old", "seed": 0, "model": "tiny", "data": {}, "epochs": 3, "batch_size": 16}
    (run / RECIPE).write_text(json.dumps(flat))
    with pytest.raises(RecipeError, match=r"Move each key .* `optimiser: \{epochs: 3\}`"):
        load_run(run)
