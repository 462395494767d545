"""Weights from a local folder or the hub, checked: what every family of transformers needs."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from atman_bench.core.errors import ConfigError, ModelError, first_line_of
from atman_bench.core.records import Dtype
from atman_bench.models._base import LoadOptions
from atman_bench.models._silence import silent_transformers

WEIGHTS = frozenset({".safetensors", ".bin", ".json", ".model", ".gguf"})
"""Suffixes of the files that decide what a folder's model computes."""


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
        ConfigError: No such device.
    """
    dtype = weights_type(options.dtype)
    device = None if options.device_map else usable_device(options.device)
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
        raise ModelError(f"cannot load model {str(source)!r}: {first_line_of(error)}") from error
    if missing := sorted(loaded["missing_keys"]):
        raise ModelError(
            f"the weights of {str(source)!r} lack {len(missing)} tensors ({missing[0]}, ...), which would stay random; "
            f"use a checkpoint of {kind}"
        )
    return model.eval() if device is None else model.eval().to(device)


def weights_type(dtype: Dtype) -> torch.dtype:
    """The type as torch has it."""
    return getattr(torch, dtype.value)


def load_tokenizer(source: str | Path, shared: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """Load a tokenizer as what its folder declares it to be.

    AutoTokenizer overrides the generic class by the model's own (5.23: Qwen2's splitting rules over any tokenizer.json
    in a qwen2 folder), and the same weights then read other tokens.
    """
    declared = get_tokenizer_config(source, **shared).get("tokenizer_class")
    generic = declared in {"TokenizersBackend", "PreTrainedTokenizerFast"}
    return (PreTrainedTokenizerFast if generic else AutoTokenizer).from_pretrained(source, **shared)


def usable_device(name: str | None) -> torch.device:
    """A device that exists; None takes CUDA where there is one.

    Raises:
        ConfigError: It does not.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise ConfigError(
            f"device {name!r} cannot be used: {first_line_of(error)}; 'atman-bench doctor' lists what there is"
        ) from error
    return device


def content_hash(source: Path, model: PreTrainedModel, revision: str | None, template: bool = False) -> str:
    """SHA-256 over a local folder's weights, config and tokenizer; for a hub model the commit that was loaded.

    A folder that holds a LoRA adapter counts together with the model that the adapter is made for.

    Args:
        source: The folder, or a hub id.
        model: What was loaded.
        revision: What was asked for.
        template: Whether prompts are put into the chat template, which then counts too.

    Raises:
        ModelError: The adapter's configuration cannot be read.
    """
    if not source.is_dir():
        return getattr(model.config, "_commit_hash", None) or revision or "unknown"
    own = folder_hash(source, WEIGHTS | ({".jinja"} if template else set()))
    file = source / "adapter_config.json"
    if not file.is_file():
        return own
    try:
        adapter = json.loads(file.read_bytes())
        base, revision = adapter["base_model_name_or_path"], adapter.get("revision")
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file} does not say which model the adapter is made for: {error!r}") from error
    of_base = content_hash(Path(base), model, revision, template)
    return hashlib.sha256(f"{own} on {of_base}".encode()).hexdigest()


def folder_hash(folder: Path, suffixes: Collection[str]) -> str:
    """SHA-256 over the names and contents of a folder's files with these suffixes."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in suffixes):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
