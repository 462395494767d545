"""Linear layers of a decoder whose weights are integers, through torchao."""

from importlib.util import find_spec

from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from atman_bench.core.errors import ConfigError
from atman_bench.core.records import Quantization
from atman_bench.models._base import ModelAdapter
from atman_bench.models._causal_lm import CausalLM


def check_quantization(kind: Quantization) -> None:
    """Refuse where the package for it is missing.

    Raises:
        ConfigError: It is.
    """
    if find_spec("torchao") is None:
        raise ConfigError(
            f"quantize {kind} needs the package torchao: pip install 'atman-bench[int8]', or leave it out"
        )


def quantize(adapter: ModelAdapter, kind: Quantization) -> None:
    """Turn the weights of all linear layers of a decoder into integers, in place.

    Embeddings, norms, the output head (which many models share with the embeddings), image encoders and experts that
    are no linear layers stay as they are. Weights only: a product multiplies activations of the model's own type by the
    integers, and scales the result, so that gradients of activations pass. Quantised activations are faster where the
    processor multiplies integers, but they stop gradients and move logits further (``docs/performance.md``).

    Args:
        adapter: Whose float weights are loaded; it remembers what they became.
        kind: What they become.

    Raises:
        ConfigError: What is edited is no decoder, or a decoder without linear layers of float weights.
    """
    if not isinstance(adapter, CausalLM):
        raise ConfigError(f"quantize {kind} is for decoders, and {adapter.name} is none: leave it out")
    if getattr(adapter.model, "is_quantized", False):
        raise ConfigError(f"quantize {kind}: the checkpoint of {adapter.name} is quantised already; leave it out")
    decoder = adapter.model.get_decoder()
    from torchao.quantization import Int8WeightOnlyConfig, quantize_  # an extra

    quantize_(decoder, Int8WeightOnlyConfig())
    if not any(map(is_traceable_wrapper_subclass, decoder.parameters())):
        raise ConfigError(
            f"quantize {kind}: the decoder of {adapter.name} has no linear layers (torch.nn.Linear); leave it out"
        )
    adapter.quantization = kind
