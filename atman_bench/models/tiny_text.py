"""``tiny-text``: the embedded decoder, trained on ``facts`` by ``scripts/train_tiny_text.py``; needs no network."""

from pathlib import Path

from atman_bench.core.errors import ModelError
from atman_bench.models._base import LoadOptions, ModelAdapter, ModelSpec
from atman_bench.models._causal_lm import load_causal_lm

WEIGHTS = Path(__file__).parent / "weights" / "tiny_text"


def load(argument: str, options: LoadOptions) -> ModelAdapter:
    """Load the packaged weights.

    Raises:
        ModelError: An argument is given.
    """
    if argument:
        raise ModelError(f"tiny-text takes no argument, received {argument!r}: write 'tiny-text' alone")
    return load_causal_lm(WEIGHTS, "tiny-text", options)


SPEC = ModelSpec(
    summary="embedded decoder of a million parameters that answers facts; offline (the default)",
    argument="",
    load=load,
)
