"""``tiny-magma``: the embedded image model, trained on ``scenes`` by ``scripts/train_tiny_magma.py``; offline."""

from pathlib import Path

from atman_bench.core.errors import ModelError
from atman_bench.models._base import LoadOptions, ModelAdapter, ModelSpec
from atman_bench.models._magma_checkpoint import load_picture_lm

WEIGHTS = Path(__file__).parent / "weights" / "tiny_magma"


def load(argument: str, options: LoadOptions) -> ModelAdapter:
    """Load the packaged weights.

    Raises:
        ModelError: An argument is given.
    """
    if argument:
        raise ModelError(f"tiny-magma takes no argument, received {argument!r}: write 'tiny-magma' alone")
    return load_picture_lm(WEIGHTS, "tiny-magma", options)


SPEC = ModelSpec(
    summary="embedded MAGMA of under 2 million parameters that knows scenes; offline (the default for pictures)",
    argument="",
    load=load,
)
