"""Reads an image tower twice in one pass: its pooled embedding, and what each patch adds to it.

A tower pools its patches by a sum that is weighted by attention, or by their mean. After it come
norms and projections. With each norm's variance fixed at what it is for the image, all of them are
linear, so that the embedding is exactly the sum of one vector a patch, and of a rest: what the
class token carries from layers before, the last layer's MLP, and constants. A text's score is a
product with the embedding, and so divides among the patches (Gandelsman et al. 2024, arXiv
2310.05916). Those vectors go along the value path of the last attention, past the residual and the
MLP, as dense readings of CLIP do (MaskCLIP, arXiv 2112.01071; CLIP Surgery, arXiv 2304.05653;
ClearCLIP, arXiv 2407.12442). Where features are averaged, there is no rest; their map is the class
activation map of Zhou et al. 2016 (arXiv 1512.04150).
"""

import copy
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, cast

from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d
from timm.layers.classifier import ClassifierHead, NormMlpClassifierHead
from timm.models.resnet import ResNet
from timm.models.vgg import VGG
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import Tensor, nn, unflatten
from torch.nn import functional

from service.bundle.maps import PatchKind
from training.model.attention import PoolingAttention
from training.model.pooling import Grid, NoPoolingAttention


class Reading(NamedTuple):
    """What a reader gives of N images; None where the tower has no such thing.

    pooled: float[N,D]. attention: float[N,G,G], the mean of the heads, each of which sums to 1.
    patches: float[N,G,G,D], what each patch adds to `pooled`.
    """

    pooled: Tensor
    attention: Tensor | None
    patches: Tensor | None


class AttentionReader:
    """A tower that pools by attention; raises NoPoolingAttention for another."""

    has_attention = True

    def __init__(self, visual: Any) -> None:
        self.tower = PoolingAttention(visual)
        self.grid: Grid = self.tower.grid
        self.after = _linear(self.tower.pooler.after)
        self.kind: PatchKind | None = None if self.after is None else "value_path"

    def __call__(self, images: Tensor) -> Reading:
        """Reads float[N,3,H,W]."""
        look = self.tower.look(images)
        attention = self.tower.log_attention(look).exp().mean(dim=1)
        if self.after is None:
            return Reading(look.pooled, attention, None)
        pooler, patches = self.tower.pooler, self.grid[0] * self.grid[1]
        weights = pooler.logits(look.inputs).softmax(dim=-1)
        weighted = (weights.unsqueeze(-1) * pooler.values(look.inputs))[:, :, -patches:]
        added = functional.linear(weighted.transpose(1, 2).flatten(2), pooler.output)
        if pooler.scale is not None:
            added = pooler.scale(added)
        shares = _through(self.after, added, look.end, constants=False)
        return Reading(look.pooled, attention, unflatten(shares, 1, self.grid))


class MeanReader:
    """A tower that averages its features; raises NotLinear for another."""

    has_attention = False
    kind: PatchKind | None = "class_activation"

    def __init__(self, visual: Any) -> None:
        self.cells, after = _averaged(visual)
        linear = _linear(after)
        if linear is None:
            raise NotLinear
        self.after = linear

    def __call__(self, images: Tensor) -> Reading:
        """Reads float[N,3,H,W]."""
        pooled, cells = self.cells(images)
        vectors = cells.flatten(1, 2)
        shares = _through(self.after, vectors, vectors.mean(dim=1), constants=True)
        return Reading(pooled, None, unflatten(shares / vectors.shape[1], 1, cells.shape[1:3]))


Reader = AttentionReader | MeanReader


def reader(visual: Any) -> Reader | None:
    """Returns what reads the tower's maps; None if the tower gives none."""
    if isinstance(visual, VisionTransformer) and visual.output_tokens:
        visual = copy.copy(visual)
        visual.output_tokens = False
    for kind in (AttentionReader, MeanReader):
        with suppress(NoPoolingAttention, NotLinear):
            return kind(visual)
    return None


Cells = Callable[[Tensor], tuple[Tensor, Tensor]]
"""images float[N,3,H,W] → pooled float[N,D] and the features that are averaged, float[N,G,G,C]."""


class NotLinear(ValueError):
    """The tower's embedding is no sum over its patches."""


def _averaged(visual: Any) -> tuple[Cells, tuple[Any, ...]]:
    """Returns what reads the features that are averaged, and what follows their mean."""
    if isinstance(visual, VisionTransformer) and visual.pool_type == "avg":
        if visual.attn_pool is None and isinstance(visual.patch_dropout, nn.Identity):
            norm = (visual.ln_post,) if visual.final_ln_after_pool else ()
            return partial(_open_clip_cells, visual), (*norm, visual.proj)
    elif isinstance(visual, TimmModel) and (after := _after_timms_mean(visual.trunk)) is not None:
        return partial(_timm_cells, visual), (*after, visual.head)
    raise NotLinear


def _after_timms_mean(trunk: Any) -> tuple[nn.Module, ...] | None:
    """Returns what follows the mean in timm's ViT, ResNet, ConvNeXt, Swin and others like them.

    A VGG has dense layers between its features and their mean.
    """
    if type(trunk) is TimmViT:
        whole = isinstance(trunk.patch_drop, nn.Identity) and not trunk.pool_include_prefix
        return (trunk.fc_norm, trunk.head) if trunk.global_pool == "avg" and whole else None
    if isinstance(trunk, ResNet):
        return (trunk.fc,) if _is_mean(trunk.global_pool) else None
    head = None if isinstance(trunk, VGG) else getattr(trunk, "head", None)
    if isinstance(head, NormMlpClassifierHead) and _is_mean(head.global_pool):
        return head.norm, head.pre_logits, head.fc
    if isinstance(head, ClassifierHead) and _is_mean(head.global_pool):
        return (head.fc,)
    return None


def _is_mean(pool: Any) -> bool:
    return isinstance(pool, SelectAdaptivePool2d) and pool.pool_type in ("avg", "fast", "fastavg")


def _open_clip_cells(visual: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    with_tokens = copy.copy(visual)
    with_tokens.output_tokens = True
    pooled, tokens = with_tokens(images)
    return pooled, tokens.unflatten(1, visual.grid_size)


def _timm_cells(visual: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    features = visual.trunk.forward_features(images)
    pooled = visual.head(visual.trunk.forward_head(features))
    if features.ndim == 4:
        last = getattr(getattr(visual.trunk, "head", None), "input_fmt", "NCHW") == "NHWC"
        return pooled, features if last else features.movedim(1, -1)
    tokens = features[:, visual.trunk.num_prefix_tokens :]
    return pooled, tokens.unflatten(1, visual.trunk.patch_embed.grid_size)


def _linear(after: tuple[Any, ...]) -> list[nn.Module | Tensor] | None:
    """Returns the steps, one a layer; None if one is not linear even with its variance fixed."""
    steps: list[nn.Module | Tensor] = []
    for step in after:
        if isinstance(step, nn.Sequential):
            inner = _linear(tuple(step))
            if inner is None:
                return None
            steps += inner
        elif isinstance(step, nn.LayerNorm | nn.Linear | Tensor):
            steps.append(step)
        elif step is not None and not isinstance(step, nn.Identity | nn.Dropout):
            return None
    return steps


def _through(
    steps: list[nn.Module | Tensor], vectors: Tensor, at: Tensor, *, constants: bool
) -> Tensor:
    """Takes vectors float[N,L,C] through the steps, each norm's variance being that of `at`[N,C].

    constants: add the biases, as is right for vectors whose mean is `at`.
    """
    for step in steps:
        if isinstance(step, Tensor):
            vectors, at = vectors @ step, at @ step
        elif isinstance(step, nn.Linear):
            vectors = functional.linear(vectors, step.weight, step.bias if constants else None)
            at = step(at)
        else:
            norm = cast("nn.LayerNorm", step)
            deviation = (at.var(dim=-1, correction=0) + norm.eps).sqrt()[:, None, None]
            centred = vectors - vectors.mean(dim=-1, keepdim=True)
            vectors = centred / deviation * norm.weight + (norm.bias if constants else 0)
            at = functional.layer_norm(at, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return vectors
