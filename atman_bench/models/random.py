"""``random:SIZE``: decoders with random weights, in the sizes of the paper's Figs 5 and 7.

Cost does not depend on what the weights are, and no checkpoint of these sizes has to be downloaded.
"""

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from atman_bench.core.errors import ModelError
from atman_bench.models._base import LoadOptions, ModelSpec
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models._loading import usable_device, weights_type
from atman_bench.models._silence import silent_transformers
from atman_bench.models._sizes import config_of


def load(argument: str, options: LoadOptions) -> CausalLM:
    """Make ``random:SIZE``; it has no tokenizer.

    Raises:
        UnknownNameError: No such size.
        ModelError: A ``device_map`` is given.
        ConfigError: No such type or device.
    """
    config = config_of(argument)
    if options.device_map is not None:
        raise ModelError(f"random:{argument} is made on one device, received device_map {options.device_map!r}")
    dtype = weights_type(options.dtype)
    with silent_transformers():
        model = build(config, dtype, usable_device(options.device))
        return CausalLM(f"random:{argument}", model, None, f"random:{argument}")


def build(config: PreTrainedConfig, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """Make a decoder in evaluation mode, each time with the same weights on the same device.

    Every tensor is allocated once, where and as it stays: initialising in float32 on the CPU first would take several
    times the memory.
    """
    with no_init_weights(), torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.02, generator=generator)
            else:
                parameter.fill_(0 if name.endswith("bias") else 1)
    return model.eval()


SPEC = ModelSpec(
    summary="decoder with random weights, to measure costs, in the sizes of the paper (random:10M to random:70B)",
    argument="SIZE",
    load=load,
)
