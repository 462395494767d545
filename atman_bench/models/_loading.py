"""Weights from a local folder or the hub, checked: what every family of transformers needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from atman_bench.errors import ConfigError, ModelError
from atman_bench.models._base import LoadOptions
from atman_bench.models._causal_lm import PROBE_TOLERANCE, _device
from atman_bench.models._silence import silent_transformers


def hub_options(options: LoadOptions) -> Mapping[str, Any]:
    """What weights, processors and tokenizers are all loaded with."""
    return {"revision": options.revision or "main", "trust_remote_code": options.trust_remote_code}


def load_weights(model_class: Any, source: str | Path, options: LoadOptions, kind: str) -> PreTrainedModel:
    """A model in evaluation mode, on its device.

    Args:
        model_class: Of transformers; has ``from_pretrained``.
        source: Folder made by ``save_pretrained``, or a hub id.
        options: Device, type and trust.
        kind: What it should be ("a causal language model"), for the message.

    Raises:
        ModelError: It does not exist, lacks weights, or holds pickled ones without ``trust_checkpoint``.
        ConfigError: No such type or device.
    """
    dtype = getattr(torch, options.dtype, None)
    if dtype not in PROBE_TOLERANCE:
        raise ConfigError(f"unknown dtype {options.dtype!r}: expected one of float32, float16, bfloat16")
    device = None if options.device_map else _device(options.device)
    try:
        with silent_transformers():
            model, loaded = model_class.from_pretrained(
                source,
                dtype=dtype,
                # transformers reads pickles with weights_only=True; even so they are asked for explicitly.
                use_safetensors=None if options.trust_checkpoint else True,
                device_map=options.device_map,
                output_loading_info=True,
                **hub_options(options),
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"cannot load model {str(source)!r}: {str(error).splitlines()[0]}") from error
    if missing := sorted(loaded["missing_keys"]):
        raise ModelError(
            f"the weights of {str(source)!r} lack {len(missing)} tensors ({missing[0]}, ...), which would stay random; "
            f"use a checkpoint of {kind}"
        )
    return model.eval() if device is None else model.eval().to(device)
