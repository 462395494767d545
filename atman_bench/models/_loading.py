"""Weights from a local folder or the hub, checked: what every family of transformers needs."""

import hashlib
import json
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from atman_bench.attention.patching import foreign_code
from atman_bench.core.errors import ConfigError, ModelError, first_line_of, one_line
from atman_bench.core.records import Dtype
from atman_bench.models._base import LoadOptions
from atman_bench.models._silence import silent_transformers

_LOG = logging.getLogger(__name__)

NO_TOKENIZER = "has no tokenizer in its folder"
"""What is said where a tokenizer is needed, and nothing else is known."""

WEIGHTS = frozenset({".safetensors", ".bin", ".json", ".model", ".gguf"})
"""Suffixes of the files that decide what a folder's model computes."""


def hub_options(options: LoadOptions) -> Mapping[str, Any]:
    """What weights, processors and tokenizers are all loaded with."""
    return {"revision": options.revision or "main", "trust_remote_code": options.trust_remote_code}


TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)
"""Any of these says that a folder means to have a tokenizer."""

ADAPTER_CONFIG = "adapter_config.json"
"""Where a LoRA adapter names the model that it is made for."""

MOST_SAID = 300
"""Characters of an error of others that are repeated."""

MOST = {
    "num_hidden_layers": 10_000,
    "num_attention_heads": 1 << 20,
    "num_key_value_heads": 1 << 20,
    "head_dim": 1 << 20,
    "hidden_size": 1 << 20,
    "intermediate_size": 1 << 24,
    "vocab_size": 1 << 24,
    "max_position_embeddings": 1 << 30,
}
"""Sizes of language models that cannot be meant."""

UNLIMITED = 1 << 62
"""What a tokenizer takes for its longest text: nothing is cut, the model's window is checked here, and transformers has
no remark of its own about it."""

TOKEN_IDS = frozenset({"bos_token_id", "eos_token_id", "pad_token_id"})
"""Keys of generation_config.json that become tensors."""

FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
"""What safetensors calls the types that weights can be taken from as they are."""


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Turn whatever a checkpoint makes transformers raise into one line, and keep transformers silent.

    Args:
        what: What cannot be loaded then (``model 'FOLDER'``).

    Raises:
        ModelError: Anything was raised but our own errors, or for want of memory.
    """
    with foreign_code(f"cannot load {what}", _reason), silent_transformers(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected pickle protocol")
        yield


def _reason(error: Exception) -> str:
    """What a user can do something about."""
    match error:
        case UnpicklingError():
            return (
                "torch refuses its pickled weights, which are damaged, or hold more than tensors and could run code; "
                "save them as safetensors"
            )
        case ImportError():
            return f"a package is missing: {one_line(error)}"
        case OSError():  # transformers' own, with advice in further lines
            return first_line_of(error)
        case RuntimeError():  # torch's, with a stack of C++ frames
            return first_line_of(error)
        case _:
            named = "" if isinstance(error, ValueError | StrictDataclassError) else f"{type(error).__name__}: "
            return f"{named}{one_line(error)[:MOST_SAID]}"


def holds_adapter(source: str | Path) -> bool:
    """Whether a folder holds a LoRA adapter, which transformers loads into the model that it is made for.

    Raises:
        ModelError: It does, and the package for it is missing.
    """
    found = Path(source, ADAPTER_CONFIG).is_file()
    if found and find_spec("peft") is None:
        raise ModelError(
            f"cannot load model {str(source)!r}: it holds a LoRA adapter, and the package peft is missing; install it, "
            "or merge the adapter into its model"
        )
    return found


def check_sizes(config: PreTrainedConfig) -> None:
    """Sizes of a model are possible ones, so that nobody waits for a model of 10^30 layers to be made.

    Raises:
        ModelError: One is not.
    """
    text = config.get_text_config()
    for key, most in MOST.items():
        size = getattr(text, key, None)
        if isinstance(size, int) and not 1 <= size <= most:
            name = text.attribute_map.get(key, key)
            raise ModelError(f"config.json: {name} is {size}, expected 1 to {most}")


def key_at_fault(source: str | Path) -> str:
    """Which entry of a folder's config.json makes it unreadable, as an addition to the message.

    It is looked for by leaving one out after the other.
    """
    try:
        stored = json.loads(Path(source, "config.json").read_bytes())
    except (OSError, ValueError):
        return ""
    if not isinstance(stored, dict):
        return f" (it holds {type(stored).__name__} where an object is expected)"
    kind = stored.pop("model_type", None)
    if not isinstance(kind, str):
        return " (key 'model_type')"
    with suppress(Exception):
        AutoConfig.for_model(kind, **stored)
        return ""
    for key in stored:
        with suppress(Exception):  # this one is not at fault, or not alone
            AutoConfig.for_model(kind, **{k: v for k, v in stored.items() if k != key})
            return f" (key {key!r})"
    return ""


def check_files(folder: Path) -> None:
    """What stands beside a folder's config.json has the structure that transformers takes for granted.

    Raises:
        ModelError: It has not; the message names the file and the key.
    """
    for path in sorted((*folder.glob("generation_config.json"), *folder.glob("*.index.json"))):
        try:
            stored = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} cannot be read: {one_line(error)}") from error
        if not isinstance(stored, dict):
            raise ModelError(f"{path} holds {type(stored).__name__} where an object is expected")
        if path.name.endswith(".index.json"):
            files = stored.get("weight_map")
            if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
                raise ModelError(f"{path}: weight_map should tell the file of each tensor (an object of strings)")
            if not isinstance(stored.get("metadata", {}), dict):
                raise ModelError(f"{path}: metadata should be an object, found {stored['metadata']!r}")
            continue
        for key in TOKEN_IDS & stored.keys():
            ids = stored[key] if isinstance(stored[key], list) else [stored[key]]
            if not all(i is None or (isinstance(i, int) and -1 <= i < MOST["vocab_size"]) for i in ids):
                raise ModelError(f"{path}: {key} should be a token id, a list of these or null, found {stored[key]!r}")


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
    check_files(Path(source))
    dtype = weights_type(options.dtype)
    device = None if options.device_map else usable_device(options.device)
    with loading(f"model {str(source)!r}"):
        model, loaded = model_class.from_pretrained(
            source,
            dtype=dtype,
            # transformers reads pickles with weights_only=True; even so they are asked for explicitly.
            use_safetensors=None if options.trust_checkpoint else True,
            device_map=options.device_map,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # checked below, by name
            **hub_options(options),
        )
    _check_complete(source, loaded, kind)
    _check_stored_types(Path(source), model)
    return model.eval() if device is None else model.eval().to(device)


def _check_complete(source: str | Path, loaded: Mapping[str, Any], kind: str) -> None:
    """The weights are the model's, all of them and no others.

    Raises:
        ModelError: Some are missing, have other shapes, or have no place in it: it would compute something else than
            was trained.
    """
    if missing := sorted(loaded["missing_keys"]):
        raise ModelError(
            f"the weights of {str(source)!r} lack {len(missing)} tensors ({missing[0]}, ...), which would stay random; "
            f"use a checkpoint of {kind}"
        )
    if mismatched := sorted(loaded["mismatched_keys"]):
        name, stored, expected = mismatched[0]
        raise ModelError(
            f"the weights of {str(source)!r} do not fit its config.json: {len(mismatched)} tensors have other shapes "
            f"({name}: {tuple(stored)} in the weights, {tuple(expected)} by the sizes in config.json)"
        )
    if unexpected := sorted(loaded["unexpected_keys"]):
        raise ModelError(
            f"the weights of {str(source)!r} hold {len(unexpected)} tensors that have no place in the model "
            f"({unexpected[0]}, ...): its config.json describes another one (fewer layers?); use a checkpoint of {kind}"
        )


def _check_stored_types(folder: Path, model: PreTrainedModel) -> None:
    """The weights in a folder's files are floating-point numbers, unless the model says how it is quantised.

    transformers would cast the integers of a quantised matrix without its scales.

    Raises:
        ModelError: A parameter is not.
    """
    if getattr(model, "is_quantized", False):
        return
    prefix = f"{model.base_model_prefix}."
    parameters = {name.removeprefix(prefix) for name, _ in model.named_parameters()}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, tensor in header.items():
            if name.removeprefix(prefix) in parameters and tensor["dtype"] not in FLOATS:
                raise ModelError(
                    f"tensor {name} of {path} is stored as {tensor['dtype']}, and its config.json names no "
                    "quantisation: expected floating-point weights (F32, F16, BF16)"
                )


def weights_type(dtype: Dtype) -> torch.dtype:
    """The type as torch has it."""
    return getattr(torch, dtype.value)


def tokenizer_or_reason(source: str | Path, shared: Mapping[str, Any]) -> tuple[PreTrainedTokenizerBase | None, str]:
    """A model's tokenizer; where there is none, what is said to those who need it."""
    try:
        with silent_transformers():
            return load_tokenizer(source, shared), ""
    except Exception as error:  # token ids can be explained without one
        _LOG.debug("tokenizer of %s", source, exc_info=True)
        if Path(source).is_dir() and not any(Path(source, name).is_file() for name in TOKENIZER_FILES):
            return None, NO_TOKENIZER
        return None, f"has a tokenizer that cannot be loaded ({_reason(error)})"


def load_tokenizer(source: str | Path, shared: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """Load a tokenizer as what its folder declares it to be.

    AutoTokenizer overrides the generic class by the model's own (5.23: Qwen2's splitting rules over any tokenizer.json
    in a qwen2 folder), and the same weights then read other tokens.
    """
    declared = get_tokenizer_config(source, **shared).get("tokenizer_class")
    generic = declared in {"TokenizersBackend", "PreTrainedTokenizerFast"}
    tokenizer = (PreTrainedTokenizerFast if generic else AutoTokenizer).from_pretrained(source, **shared)
    tokenizer.model_max_length = UNLIMITED
    return tokenizer


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
    file = source / ADAPTER_CONFIG
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
