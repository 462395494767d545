"""GradCAM: defined on a grid of image features, so it has nothing to say about text."""

from dataclasses import dataclass

from atman_bench.errors import ConfigError
from atman_bench.methods._base import MethodSpec
from atman_bench.models._base import ModelAdapter
from atman_bench.tensors import Attribution, Encoded


@dataclass(frozen=True, kw_only=True)
class GradCAMConfig:
    """GradCAM has no options for text."""


def explain(model: ModelAdapter, encoded: Encoded, config: GradCAMConfig, seed: int) -> Attribution:
    """Refuse a sample without an image (paper A.1: "does not work for text only").

    Raises:
        ConfigError: Always, since a text sample has no image.
    """
    raise ConfigError("gradcam needs an image: leave it out of --methods for text datasets")


SPEC = MethodSpec(
    summary="GradCAM; needs an image",
    version=1,
    config=GradCAMConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 3 * n_targets,
    needs_image=True,
)
