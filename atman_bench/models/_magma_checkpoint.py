"""Files of image models: MAGMA's official checkpoint, and a folder format of our own."""

import hashlib
import json
import pickle
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, GPTJConfig, GPTJForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.models.gptj.modeling_gptj import create_sinusoidal_positions

from atman_bench.core.errors import ConfigError, ModelError, one_line
from atman_bench.core.hub import offline_where_unreachable
from atman_bench.models._base import LoadOptions
from atman_bench.models._image_prefix import ClipResNetConfig, ImagePrefix, PrefixConfig
from atman_bench.models._loading import UNLIMITED, usable_device, weights_type
from atman_bench.models._picture_lm import Adapter, PictureLM, build_decoder
from atman_bench.models._silence import silent_transformers

OFFICIAL_FILE = "mp_rank_00_model_states.pt"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
KIND = "picture_lm"
ENCODER = "image_prefix.enc."
GPT2_TOKENS = 50257

RESOLUTION_OF_WIDTH = {64: 224, 80: 288, 96: 384, 128: 448}
"""Pixels along each side of what CLIP's published residual networks read, by the width of their stem."""

RENAMES: tuple[tuple[re.Pattern[str], str | None], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        # Each tensor of the decoder is stored twice: these are the second names.
        (r"transformer\.\d+\..*", None),
        (r"word_embedding\.weight", None),
        # Buffers that are computed anew. A half-precision file has its rotary tables rounded and its mask at -inf.
        (r"lm\.transformer\.h\.\d+\.attn\.attention\.(bias|masked_bias|scale_attn|sin|cos)", None),
        (r"lm\.(transformer\.h\.\d+\.attn)\.attention\.(\w+\.weight)", r"lm.\1.\2"),
        (r"lm\.(transformer\.h\.\d+\.mlp\.0)\.c_fc\.(\w+)", r"lm.\1.fc_in.\2"),
        (r"lm\.(transformer\.h\.\d+\.mlp\.0)\.c_proj\.(\w+)", r"lm.\1.fc_out.\2"),
        (r"lm\.transformer\.(h\.\d+\.(mlp\.1|ln_1)|wte|ln_f)\..*|lm\.lm_head\.\w+", r"\g<0>"),
        (r"image_prefix\.(enc|proj|ln)\..*", r"\g<0>"),
    )
)
"""Name in the official checkpoint -> name in ours (None drops it); the first full match applies."""


@dataclass(frozen=True)
class MagmaGeometry:
    """Sizes of a MAGMA: what shapes and buffers of a checkpoint tell, and for the rest ``config.json`` beside it.

    Attributes:
        n_head: Attention heads of the decoder; from the scale of its scores.
        rotary_dim: Dimensions of each head that rotate; from the rotary tables.
        n_positions: Context window; from the causal mask.
        resolution: Pixels along each side of what the image encoder reads; of CLIP's published networks it is known.
    """

    n_head: int
    rotary_dim: int
    n_positions: int
    resolution: int

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], settings: Mapping[str, int]) -> "MagmaGeometry":
        """Read a checkpoint's sizes.

        Args:
            state: Under the official names.
            settings: What ``config.json`` says; it takes precedence over the checkpoint.

        Raises:
            ModelError: Neither gives a size, or a setting is no size.
        """
        found: dict[str, int] = {}
        attention = "lm.transformer.h.0.attn.attention."
        width = state["image_prefix.enc.conv3.weight"].shape[0]
        if (scale := state.get(attention + "scale_attn")) is not None:
            found["n_head"] = len(state[attention + "q_proj.weight"]) // round(float(scale) ** 2)
        if (sines := state.get(attention + "sin")) is not None:
            found["rotary_dim"] = 2 * sines.shape[-1]
        if (mask := state.get(attention + "bias")) is not None:
            found["n_positions"] = mask.shape[-1]
        if width in RESOLUTION_OF_WIDTH:
            found["resolution"] = RESOLUTION_OF_WIDTH[width]
        found |= settings
        names = [f.name for f in fields(cls)]
        if lacking := [name for name in names if name not in found]:
            raise ModelError(
                f"the checkpoint does not tell its {', '.join(lacking)}: write {CONFIG_FILE} beside it, such as "
                f'{{"{lacking[0]}": 384}}'
            )
        if wrong := [k for k, v in found.items() if k not in names or type(v) is not int or v < 1]:
            raise ModelError(f"{CONFIG_FILE} beside the checkpoint: {wrong[0]!r} is none of {', '.join(names)}, or < 1")
        return cls(**found)


def load_official(file: Path, options: LoadOptions, layer_norm: bool) -> PictureLM:
    """Load MAGMA's official checkpoint: one pickle that holds everything.

    The file is mapped into memory and each tensor converted on its own, so that no second copy of all weights exists.

    Args:
        file: ``mp_rank_00_model_states.pt``; beside it may lie ``config.json`` (see ``MagmaGeometry``) and
            ``tokenizer.json`` (otherwise GPT-2's tokenizer is fetched; without a network there is none).
        options: Device, type and trust; what holds for the hub is refused.
        layer_norm: Apply the LayerNorm of the image prefix if the file has it. AtMan's released code does not.

    Raises:
        ModelError: It is not trusted, cannot be read, or is not MAGMA with adapters behind its feed-forward layers.
        ConfigError: No such type or device.
    """
    dtype, device = _placement(options)
    official = _read_pickle(file, options)
    state = {}
    for key, tensor in official.items():
        if (name := _renamed(key)) is not None:
            state[name] = tensor
    try:
        blocks = {int(m[1]) for m in map(re.compile(r"lm\.transformer\.h\.(\d+)\..*").fullmatch, state) if m}
        geometry = MagmaGeometry.from_state_dict(official, _read_json(file.parent / CONFIG_FILE, required=False))
        head, (embeddings, hidden) = state["lm.lm_head.weight"], state["lm.transformer.wte.weight"].shape
        stop = GPT2_TOKENS - 1 if embeddings >= GPT2_TOKENS else None
        config = GPTJConfig(
            vocab_size=len(head),
            n_embd=hidden,
            n_layer=len(blocks),
            n_inner=len(state["lm.transformer.h.0.mlp.0.fc_in.weight"]),
            n_head=geometry.n_head,
            rotary_dim=geometry.rotary_dim,
            n_positions=geometry.n_positions,
            bos_token_id=stop,
            eos_token_id=stop,
        )
        adapter_size = len(state["lm.transformer.h.0.mlp.1.adapter.0.weight"])
        prefix_config = PrefixConfig(
            ClipResNetConfig(_stages(state), len(state["image_prefix.enc.conv3.weight"])),
            geometry.resolution,
            layer_norm="image_prefix.ln.weight" in state,
        )
    except KeyError as error:
        raise ModelError(f"{file} is no checkpoint of MAGMA v1: tensor {error} is missing") from error
    if not layer_norm:
        prefix_config = replace(prefix_config, layer_norm=False)
        state = {key: tensor for key, tensor in state.items() if not key.startswith("image_prefix.ln.")}
    name = file.resolve().parent.name + ("" if layer_norm else "-noln")
    tokenizer = _tokenizer_beside(file.parent)
    if tokenizer is None and embeddings >= GPT2_TOKENS:
        # Without a network: token ids only.
        with suppress(OSError, ValueError), offline_where_unreachable("gpt2"), silent_transformers():
            tokenizer = AutoTokenizer.from_pretrained("gpt2", model_max_length=UNLIMITED)
    model, prefix = _filled(state, config, embeddings, adapter_size, prefix_config, dtype, device, file)
    content_hash = _hash([file, file.parent / CONFIG_FILE, file.parent / "tokenizer.json"], f"ln={layer_norm}")
    return PictureLM(name, model, prefix, tokenizer, content_hash)


def save_picture_lm(
    folder: Path,
    model: GPTJForCausalLM,
    prefix: ImagePrefix,
    tokenizer: PreTrainedTokenizerBase | None,
    dtype: torch.dtype = torch.float32,
    with_encoder: bool = True,
) -> None:
    """Write an image model as a folder: ``config.json``, ``model.safetensors`` and the tokenizer's files.

    Args:
        folder: Made if need be.
        model: A decoder of ``build_decoder``.
        prefix: Its image prefix.
        tokenizer: None for a model of token ids.
        dtype: Of the stored weights.
        with_encoder: Store the image encoder's weights too; a pretrained one may come from elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mlp = model.transformer.h[0].mlp
    adapted = isinstance(mlp, nn.Sequential) and isinstance(mlp[1], Adapter)
    config = {
        "kind": KIND,
        "prefix": prefix.config.to_json(),
        "adapter_size": mlp[1].adapter[0].out_features if adapted else None,
        "lm": model.config.to_diff_dict(),
    }
    state = {f"lm.{k}": v for k, v in model.state_dict().items()}
    state |= {f"image_prefix.{k}": v for k, v in prefix.state_dict().items()}
    stored = {
        key: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()
        for key, tensor in state.items()
        if with_encoder or not key.startswith(ENCODER)
    }
    save_file(stored, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def load_picture_lm(
    folder: Path, name: str, options: LoadOptions, encoder: Mapping[str, Tensor] | None = None
) -> PictureLM:
    """Load what ``save_picture_lm`` wrote.

    Args:
        folder: Its folder.
        name: What tables call it.
        options: Device and type; what holds for the hub is refused.
        encoder: Weights of the image encoder, where the folder has none.

    Raises:
        ModelError: A file is missing or cannot be read, or they do not fit together.
        ConfigError: No such type or device.
    """
    dtype, device = _placement(options)
    config = _read_json(folder / CONFIG_FILE, required=True)
    try:
        state = load_file(folder / WEIGHTS_FILE) | {ENCODER + key: tensor for key, tensor in (encoder or {}).items()}
        prefix_config = PrefixConfig.from_json(config["prefix"])
        lm_config, adapter_size = GPTJConfig.from_dict(config["lm"]), config["adapter_size"]
        embeddings = len(state["lm.transformer.wte.weight"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"cannot load picture model {str(folder)!r}: {one_line(error)[:300]}") from error
    model, prefix = _filled(state, lm_config, embeddings, adapter_size, prefix_config, dtype, device, folder)
    files = [folder / file for file in (CONFIG_FILE, WEIGHTS_FILE, "tokenizer.json")]
    content_hash = _hash(files, _hash_of_tensors(encoder or {}))
    return PictureLM(name, model, prefix, _tokenizer_beside(folder), content_hash)


def is_picture_lm(folder: Path) -> bool:
    """Whether a folder is of our own format."""
    return _read_json(folder / CONFIG_FILE, required=False).get("kind") == KIND


def _placement(options: LoadOptions) -> tuple[torch.dtype, torch.device]:
    dtype = weights_type(options.dtype)
    if options.device_map is not None or options.revision is not None:
        raise ConfigError("picture models are local files on one device: leave device_map and revision out")
    return dtype, usable_device(options.device)


def _read_pickle(file: Path, options: LoadOptions) -> dict[str, Tensor]:
    if not options.trust_checkpoint:
        raise ModelError(
            f"{file} is a pickle, which is read only if you trust it: give --trust-checkpoint (trust_checkpoint)"
        )
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ModelError(f"cannot read checkpoint {str(file)!r}: {one_line(error)[:300]}") from error
    state = loaded.get("module", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ModelError(f"{file} holds no weights: expected tensors by name, alone or under 'module'")
    return dict(state)


def _renamed(key: str) -> str | None:
    if re.search(r"\.attn\.(attn_block|adapter)\.", key):
        raise ModelError(
            f"tensor {key!r} belongs to an adapter of the attention (MAGMA v2), which is not supported: "
            "use a checkpoint of v1, whose adapters are behind the feed-forward layers only"
        )
    for pattern, name in RENAMES:
        if match := pattern.fullmatch(key):
            return None if name is None else match.expand(name)
    raise ModelError(f"tensor {key!r} has no place in MAGMA (GPT-J with adapters and CLIP's residual network)")


def _stages(state: Iterable[str]) -> tuple[int, int, int, int]:
    """Blocks of each stage of the image encoder."""
    found = {m.groups() for m in map(re.compile(r"image_prefix\.enc\.layer(\d)\.(\d+)\..*").fullmatch, state) if m}
    one, two, three, four = (sum(stage == str(number) for stage, _ in found) for number in (1, 2, 3, 4))
    return one, two, three, four


def _filled(
    state: Mapping[str, Tensor],
    config: GPTJConfig,
    embeddings: int,
    adapter_size: int | None,
    prefix_config: PrefixConfig,
    dtype: torch.dtype,
    device: torch.device,
    source: Path,
) -> tuple[GPTJForCausalLM, ImagePrefix]:
    """Build decoder and prefix without memory of their own, and give them the tensors."""
    try:
        with torch.device("meta"):
            model = build_decoder(config, adapter_size, embeddings)
            prefix = ImagePrefix(prefix_config, config.n_embd)
        for module, start in ((model, "lm."), (prefix, "image_prefix.")):
            own = {
                key.removeprefix(start): tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)
                for key, tensor in state.items()
                if key.startswith(start)
            }
            module.load_state_dict(own, assign=True)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"the weights in {source} do not fit its sizes: {one_line(error)[:300]}") from error
    rotations = create_sinusoidal_positions(config.n_positions, config.rotary_dim).to(device)
    for block in model.transformer.h:
        block.attn.embed_positions = rotations  # never stored: float32 whatever the weights' type
    return model, prefix


def _tokenizer_beside(folder: Path) -> PreTrainedTokenizerBase | None:
    if not (folder / "tokenizer.json").is_file():
        return None
    with silent_transformers():
        return PreTrainedTokenizerFast.from_pretrained(folder, model_max_length=UNLIMITED)


def _read_json(file: Path, required: bool) -> dict[str, Any]:
    if not required and not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {file}: {one_line(error)[:300]}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file} should hold a JSON object, received {type(content).__name__}")
    return content


def _hash(files: Iterable[Path], variant: str = "") -> str:
    """SHA-256 of the files that exist, and of how they are read."""
    digest = hashlib.sha256(variant.encode())
    for path in files:
        if path.is_file():
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _hash_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
