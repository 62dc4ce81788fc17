import torch

from training.model.views import masked, neighbour


def test_a_hard_mask_keeps_what_was_looked_at():
    pixels = torch.full((1, 2, 2), 200)
    maps = torch.tensor([[[1.0, 0.5], [0.1, 0.0]]])
    assert masked(None, pixels, maps).tolist() == [[[200, 200], [0, 0]]]


def test_dacl_mixes_in_another_image_of_the_batch():
    pixels = torch.arange(3, dtype=torch.uint8).view(3, 1, 1)
    assert neighbour(None, pixels, None).flatten().tolist() == [2, 0, 1]
