"""Tests a bundle's towers against the answers of the export, before the first request."""

from typing import Any

import numpy as np
import numpy.typing as npt

from service.arrays import FloatArray
from service.bundle.batches import TOLERANCE, Tower, alone_and_gap, probe_pixels, probe_texts
from service.bundle.golden import golden_pixels
from service.bundle.manifest import MANIFEST, Bundle
from service.errors import BundleCorrupt, BundleNotReady
from service.inference.session import Looked, Towers

GOLDEN_COSINE = 0.999
"""Least cosine between a golden embedding and the tower's answer today."""
_OFF_CPU = 1e-3
"""As `TOLERANCE`, for a GPU, which may multiply otherwise for another size. Not measured on one."""


def self_test(bundle: Bundle, towers: Towers, batch: int) -> None:
    """Tests that the towers answer as at export, and each item as if it were alone.

    batch: items of the largest call. One such call is compared, in its first, middle and last item,
    with calls of these items alone.

    Raises BundleNotReady if a golden embedding or an item of a batch differs, BundleCorrupt if the
    image tower does not give the maps that the manifest names.
    """
    int8 = bundle.manifest.int8 if towers.precision == "int8" else None
    golden = bundle.manifest.golden if int8 is None else int8.golden
    pixels = probe_pixels(bundle.manifest.image, batch)
    _check("image", towers, towers.image, pixels, golden.image_vector())
    if golden.text is not None and (vector := golden.text_vector()) is not None:
        tokens = bundle.tokenizer(probe_texts(golden.text, batch)).ids
        _check("text", towers, towers.text, tokens, vector)
    if bundle.manifest.maps:
        _check_maps(bundle, towers)


def _check(
    name: str, towers: Towers, tower: Tower, items: npt.NDArray[Any], golden: FloatArray
) -> None:
    """items: of the largest call; the golden vector is that of the first."""
    try:
        first, gap = alone_and_gap(tower, items)
    except MemoryError:
        raise BundleNotReady(
            f"There is too little memory for a call of {len(items)} items to the {name} tower. "
            "Lower ECLIP_MAX_BATCH."
        ) from None
    cosine = float(first @ golden)
    if not cosine >= GOLDEN_COSINE:
        raise BundleNotReady(
            f"The {name} tower's golden embedding differs from the export's: cosine "
            f"{cosine:.4f}, at least {GOLDEN_COSINE} needed. Choose other ECLIP_PROVIDERS, or "
            "another ECLIP_PRECISION."
        )
    allowed = TOLERANCE if towers.on_cpu else _OFF_CPU
    if not gap <= allowed:
        raise BundleNotReady(
            f"The {name} tower mixes the items of a batch: in a call of {len(items)}, an item's "
            f"vector differs by {gap:.1e} from its own ({allowed:.0e} is allowed). Set "
            "ECLIP_MAX_BATCH=1, or export the bundle again from a model that keeps items apart."
        )


def _check_maps(bundle: Bundle, towers: Towers) -> None:
    """Raises BundleCorrupt if the image tower does not give what the manifest says of its maps."""
    outputs = bundle.manifest.map_outputs
    looked = Looked()
    if towers.image_outputs >= outputs.keys():
        (looked,) = towers.looked(golden_pixels(bundle.manifest.image))
    answers = [(getattr(looked, output), shape) for output, shape in outputs.items()]
    if any(a is None or a.shape != shape or not np.isfinite(a).all() for a, shape in answers):
        said = " and ".join(f"`{output}` {shape}" for output, shape in outputs.items())
        raise BundleCorrupt(
            f"{MANIFEST} says that the image tower gives {said} in finite numbers. It does not. "
            "Export the bundle again."
        )
