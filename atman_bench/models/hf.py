"""Any causal language model of transformers: a folder made by ``save_pretrained``, or a hub id."""

from pathlib import Path

from atman_bench.errors import ModelError
from atman_bench.models._base import LoadOptions, ModelSpec
from atman_bench.models._causal_lm import CausalLM, load_causal_lm


def load(argument: str, options: LoadOptions) -> CausalLM:
    """Load ``hf:ID_OR_FOLDER``; tables call it by its last part."""
    if not argument:
        raise ModelError("model 'hf' needs a folder or a hub id: write hf:FOLDER or hf:ORGANISATION/NAME")
    return load_causal_lm(
        Path(argument).expanduser() if Path(argument).expanduser().is_dir() else argument, Path(argument).name, options
    )


SPEC = ModelSpec(summary="Any causal language model of transformers", argument="ID_OR_FOLDER", load=load)
