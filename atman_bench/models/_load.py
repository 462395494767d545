"""A model by its name, or one that is loaded already."""

from contextlib import nullcontext

from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from atman_bench.core.errors import ConfigError, ModelError
from atman_bench.core.hub import offline_where_unreachable
from atman_bench.models import MODELS
from atman_bench.models._base import LoadOptions, ModelAdapter
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models._names import family_and_argument
from atman_bench.models._quantize import check_quantization, quantize
from atman_bench.models._silence import silent_transformers
from atman_bench.models._vlm import VisionLM
from atman_bench.models.hf import reads_pictures

IN_MEMORY = "in memory"
"""Stands for the content hash of a model whose weights no file names; nothing that is explained with it is stored."""

_NO_TOKENIZER = "was given without a tokenizer (tokenizer=...)"


def load(name: str, options: LoadOptions) -> ModelAdapter:
    """Load ``FAMILY`` or ``FAMILY:ARGUMENT`` (``tiny-text``), or a hub id or folder.

    Raises:
        UnknownNameError: No such family.
        ConfigError: The device holds no numbers, or what quantises is missing or not defined for the model.
        ModelError: It cannot be loaded, or edits cannot be installed in it.
    """
    if options.device is not None and options.device.partition(":")[0] == "meta":
        raise ConfigError("device meta holds no numbers: nothing can be computed there; leave the device out")
    family, argument = family_and_argument(name)
    if options.quantize is not None:
        check_quantization(options.quantize)  # before weights are read for minutes
    with offline_where_unreachable(argument) if family == "hf" else nullcontext():
        adapter = MODELS.get(family).load(argument, options)
    if options.quantize is not None:
        quantize(adapter, options.quantize)
    return adapter


def adopt(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None = None,
    processor: ProcessorMixin | None = None,
) -> ModelAdapter:
    """Take a loaded decoder or vision-language model of transformers as it is: its device, type and weights stay.

    Args:
        model: In evaluation mode, as ``from_pretrained`` gives it.
        tokenizer: A fast one; None explains token ids only, unless there is a processor.
        processor: Of a vision-language model; without it texts alone are explained.

    Raises:
        ModelError: It is in training mode, or edits cannot be installed in it.
    """
    name = model.name_or_path.rstrip("/").rpartition("/")[2] or type(model).__name__
    if model.training:
        raise ModelError(f"model {name!r} is in training mode, where dropout is random: call model.eval() first")
    with silent_transformers():  # the first forward pass may have something to say too
        if reads_pictures(model.config) and processor is not None:
            return VisionLM(name, model, processor, IN_MEMORY)
        if tokenizer is None and processor is not None:
            tokenizer = processor.tokenizer
        return CausalLM(name, model, tokenizer, IN_MEMORY, _NO_TOKENIZER)
