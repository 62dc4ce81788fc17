#!/usr/bin/env bash
# transformers scales images of one size in twelve to a pixel less than its processor's settings say.
#
# Expected: with `size={"max_height": 224, "max_width": 224}` the longer side becomes 224 pixels. The
#   documentation of get_image_size_for_max_height_width says that at least one side does.
# Happens: for a square image of 55, 71, 83, … pixels both sides become 223. The function truncates
#   side · (224 / side), which in floating point may be 223.99999999999997.
# Why it matters: images of one size are expected to give inputs of one size. A study's vector then
#   differs from one computed by another program from the same pixels and settings.
# What we do: a bundle has no such `size`; `eclip-train export transformers:…` refuses it by its name.
#
# Seen:
#   transformers 5.24.0, pillow 13.0.0
#   a square image of 55 pixels becomes (223, 223)
#   sides of 1 to 2999 pixels that do not become 224: 258 of 2999
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  transformers==5.24.0 pillow==13.0.0 numpy
cat >"$work/resize.py" <<'PYTHON'
import sys
from importlib.metadata import version

from PIL import Image
from transformers.image_utils import get_image_size_for_max_height_width
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

print(f"transformers {version('transformers')}, pillow {version('pillow')}")
processor = CLIPImageProcessorPil(size={"max_height": 224, "max_width": 224}, do_center_crop=False)
image = Image.new("RGB", (55, 55), "gray")
shape = processor(image, return_tensors="np")["pixel_values"].shape[2:]
print(f"a square image of 55 pixels becomes {shape}")
sides = range(1, 3000)
wrong = [s for s in sides if get_image_size_for_max_height_width((s, s), 224, 224) != (224, 224)]
print(f"sides of 1 to 2999 pixels that do not become 224: {len(wrong)} of {len(sides)}")
sys.exit(0 if shape == (223, 223) and wrong else 1)
PYTHON
"$work/venv/bin/python" "$work/resize.py" 2>/dev/null
