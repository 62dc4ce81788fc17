"""Finds the attention by which an image tower pools its patches, and reads its parts.

A vision transformer pools by the attention of its last layer's class token, or by an attention
pooler after its layers; open_clip's ResNet pools by the attention of its mean.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.layers.attention import Attention
from timm.layers.attention_pool import AttentionPoolLatent
from timm.models.vision_transformer import Block
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.clip.modeling_clip import CLIPAttention

from training.model.transformers_model import Visual

Grid = tuple[int, int]
RESNET_STRIDE = 32
"""Pixels between two places of open_clip's ResNet."""
Inputs = tuple[Any, ...]


class NoPoolingAttention(ValueError):
    """The tower does not pool a grid of patches by attention."""


@dataclass(frozen=True)
class Pooler:
    """The attention that pools a grid of patches, which are its last keys.

    module: the attention; its methods take the inputs of one call. output: float[C,heads·d], what
    its values pass through. scale: what its answer is multiplied with before it is added to the
    class token. end: the module whose output's first token is the pooled one, before the norm and
    projections `after` it.
    """

    grid: Grid
    module: Any
    end: nn.Module
    after: tuple[Any, ...]
    scale: nn.Module | None = None

    def logits(self, inputs: Inputs) -> Tensor:
        """Returns the logits float[N,heads,keys] of the query that is pooled."""
        raise NotImplementedError

    def values(self, inputs: Inputs) -> Tensor:
        """Returns the values float[N,heads,keys,d]."""
        raise NotImplementedError

    @property
    def output(self) -> Tensor:
        """See the class."""
        weight: Tensor = self.module.proj.weight
        return weight


class Multihead(Pooler):
    """PyTorch's multi-head attention."""

    def logits(self, inputs: Inputs) -> Tensor:
        """See the base class."""
        query, keys, _ = inputs
        return _scaled(self._projected(query[:, :1], 0), self._projected(keys, 1))

    def values(self, inputs: Inputs) -> Tensor:
        """See the base class."""
        return self._projected(inputs[2], 2)

    @property
    def output(self) -> Tensor:
        """See the base class."""
        weight: Tensor = self.module.out_proj.weight
        return weight

    def _projected(self, tokens: Tensor, which: int) -> Tensor:
        module = self.module
        if module.in_proj_weight is None:
            weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        else:
            weights = module.in_proj_weight.chunk(3)
        bias = module.in_proj_bias.chunk(3)[which]
        return _by_head(functional.linear(tokens, weights[which], bias), module.num_heads)


class TimmClassToken(Pooler):
    """The self-attention of timm's last block."""

    def logits(self, inputs: Inputs) -> Tensor:
        """See the base class."""
        q, k, _ = self._projected(inputs)
        return _scaled(self.module.q_norm(q[:, :, :1]), self.module.k_norm(k))

    def values(self, inputs: Inputs) -> Tensor:
        """See the base class."""
        return self._projected(inputs)[2]

    def _projected(self, inputs: Inputs) -> list[Tensor]:
        parts = self.module.qkv(inputs[0]).chunk(3, -1)
        return [_by_head(tokens, self.module.num_heads) for tokens in parts]


class TransformersClassToken(Pooler):
    """The self-attention of the last layer of transformers' CLIP, DINOv2 and ViT."""

    def logits(self, inputs: Inputs) -> Tensor:
        """See the base class."""
        query = self._by_head(self.module.q_proj(inputs[0][:, :1]))
        return _scaled(query, self._by_head(self.module.k_proj(inputs[0])))

    def values(self, inputs: Inputs) -> Tensor:
        """See the base class."""
        return self._by_head(self.module.v_proj(inputs[0]))

    @property
    def output(self) -> Tensor:
        """See the base class."""
        is_clip = isinstance(self.module, CLIPAttention)
        weight: Tensor = (self.module.out_proj if is_clip else self.module.o_proj).weight
        return weight

    def _by_head(self, tokens: Tensor) -> Tensor:
        return _by_head(tokens, tokens.shape[-1] // self.module.head_dim)


class TimmLatent(Pooler):
    """timm's pooler with a learned query, as in SigLIP's towers."""

    def logits(self, inputs: Inputs) -> Tensor:
        """See the base class."""
        query = self.module.q(self.module.latent[:, :1])
        q = self.module.q_norm(_by_head(query, self.module.num_heads))
        return _scaled(q, self.module.k_norm(self._projected(inputs)[0]))

    def values(self, inputs: Inputs) -> Tensor:
        """See the base class."""
        return self._projected(inputs)[1]

    def _projected(self, inputs: Inputs) -> list[Tensor]:
        tokens = inputs[0]
        if self.module.pos_embed is not None:
            tokens = tokens + self.module.pos_embed
        return [
            _by_head(part, self.module.num_heads) for part in self.module.kv(tokens).chunk(2, -1)
        ]


class ResNetPooler(Pooler):
    """The pooler of open_clip's ResNet. Its query is the mean, which is its first key as well."""

    def logits(self, inputs: Inputs) -> Tensor:
        """See the base class."""
        tokens = self._tokens(inputs)
        q = _by_head(self.module.q_proj(tokens[:, :1]), self.module.num_heads)
        return _scaled(q, _by_head(self.module.k_proj(tokens), self.module.num_heads))

    def values(self, inputs: Inputs) -> Tensor:
        """See the base class."""
        return _by_head(self.module.v_proj(self._tokens(inputs)), self.module.num_heads)

    @property
    def output(self) -> Tensor:
        """See the base class."""
        weight: Tensor = self.module.c_proj.weight
        return weight

    def _tokens(self, inputs: Inputs) -> Tensor:
        tokens = inputs[0].flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
        placed: Tensor = tokens + self.module.positional_embedding
        return placed


def pooler(visual: Any) -> Pooler:
    """Returns the attention that pools the tower's patches; raises NoPoolingAttention."""
    if isinstance(visual, VisionTransformer):
        found = _of_open_clip(visual)
    elif isinstance(visual, TimmModel):
        found = _of_timm(visual)
    elif isinstance(visual, Visual):
        found = _of_transformers(visual)
    elif isinstance(visual, ModifiedResNet):
        side = visual.image_size // RESNET_STRIDE
        found = ResNetPooler((side, side), visual.attnpool, visual.attnpool, ())
    else:
        found = None
    if found is not None:
        return found
    raise NoPoolingAttention(
        "this image tower does not pool its patches by attention; gaze can guide the pooling of a "
        "vision transformer with a class token or an attention pooler, without dropped patches, or "
        "of open_clip's ResNet"
    )


def _of_open_clip(visual: Any) -> Pooler | None:
    """open_clip's ViT, where it gives one vector an image and keeps every patch in its place."""
    grid, after = tuple(visual.grid_size), (visual.ln_post, visual.proj)
    if visual.pool_type != "tok" or visual.output_tokens or _drops(visual.patch_dropout):
        return None
    if visual.attn_pool is not None:
        return Multihead(grid, visual.attn_pool.attn, visual.attn_pool, after)
    last = visual.transformer.resblocks[-1]
    if type(last.attn) is not nn.MultiheadAttention:
        return None
    return Multihead(grid, last.attn, last, after, last.ls_1)


def _of_timm(visual: Any) -> Pooler | None:
    """Timm's plain ViT alone; others rotate or bias the keys, or pool two tokens (DeiT's)."""
    trunk = visual.trunk
    if type(trunk) is not TimmViT or _drops(trunk.patch_drop):
        return None
    grid, head = tuple(trunk.patch_embed.grid_size), (trunk.fc_norm, trunk.head, visual.head)
    pool = trunk.attn_pool
    if type(pool) is AttentionPoolLatent and pool.latent_len == 1:
        return TimmLatent(grid, pool, pool, head)
    last: Any = trunk.blocks[-1]
    if trunk.global_pool != "token" or type(last) is not Block:
        return None
    if type(last.attn) is not Attention or _gated(last.attn):
        return None
    return TimmClassToken(grid, last.attn, last, (trunk.norm, *head), last.ls1)


def _of_transformers(visual: Visual) -> Pooler | None:
    """The image towers of transformers that the export takes, alone or in a dual encoder."""
    tower: Any = getattr(visual.model, "vision_model", visual.model)
    rows, columns = visual.size
    patch = tower.config.patch_size
    if not isinstance(patch, int):
        return None
    grid = rows // patch, columns // patch
    projection = getattr(visual.model, "visual_projection", None)
    if type(tower) is transformers.SiglipVisionModel:
        return Multihead(grid, tower.head.attention, tower.head, (projection,))
    module: Any
    after: Inputs
    scale = None
    if type(tower) is transformers.CLIPVisionModel:
        last: Any = tower.encoder.layers[-1]
        module, after = last.self_attn, (tower.post_layernorm, projection)
    elif type(tower) is transformers.Dinov2Model:
        last = tower.encoder.layer[-1]
        module, after, scale = last.attention, (tower.layernorm, projection), last.layer_scale1
    elif type(tower) is transformers.ViTModel:
        last = tower.layers[-1]
        module, after = last.attention, (tower.layernorm, tower.pooler, projection)
    else:
        return None
    return TransformersClassToken(grid, module, last, after, scale)


def _drops(patches: nn.Module) -> bool:
    return not isinstance(patches, nn.Identity)


def _gated(attention: Attention) -> bool:
    """Returns whether the answer depends on the values in another way than through a sum."""
    gate = getattr(attention, "gate", None)
    return gate is not None or not isinstance(attention.norm, nn.Identity)


def _by_head(tokens: Tensor, heads: int) -> Tensor:
    """Splits float[N,L,heads·d] into float[N,heads,L,d]."""
    return tokens.view(*tokens.shape[:2], heads, -1).transpose(1, 2)


def _scaled(q: Tensor, k: Tensor) -> Tensor:
    """Returns the logits float[N,heads,keys] of float[N,heads,1,d] and float[N,heads,keys,d]."""
    return (q @ k.transpose(-1, -2)).squeeze(2) / math.sqrt(q.shape[-1])
