"""Token embeddings of an encoder such as MiniLM, aligned with another model's tokens by characters (paper A.15)."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from atman_bench.core.errors import ModelError
from atman_bench.core.hub import offline_where_unreachable
from atman_bench.models._loading import UNLIMITED, WEIGHTS, folder_hash
from atman_bench.models._silence import silent_transformers

State = tuple[tuple[str, int, int], ...]
"""Name, size and time of change of each file of a folder."""


def embedder_identity(source: str | None) -> str | None:
    """What stands for an embedder in a fingerprint: the content of a folder, wherever it lies; a hub id as it is.

    Args:
        source: Folder or hub id, or None for no embedder.
    """
    if source is None or not Path(source).is_dir():
        return source
    return _hash(source, _state(source))


@lru_cache
def _hash(folder: str, state: State) -> str:
    return folder_hash(Path(folder), WEIGHTS | {".txt"})  # BERT keeps its vocabulary in vocab.txt


def _state(source: str) -> State:
    """What changes with the files of a folder; nothing for a hub id."""
    files = Path(source).iterdir() if Path(source).is_dir() else ()
    return tuple(sorted((file.name, (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files))


@lru_cache(maxsize=1)
def _load(source: str, state: State) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    try:
        with offline_where_unreachable(source), silent_transformers():
            model = AutoModel.from_pretrained(source, use_safetensors=True)
            return model.eval(), AutoTokenizer.from_pretrained(source, model_max_length=UNLIMITED)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot load embedder {source!r}: {str(error).splitlines()[0]}") from error


@torch.inference_mode()
def embed_text(source: str, text: str, offsets: Sequence[tuple[int, int]], length: int) -> Float[Tensor, "S D"]:
    """Contextual embeddings of a text at the positions of another tokenisation.

    Args:
        source: Folder or hub id of the encoder.
        text: The prompt.
        offsets: Half-open character range of each prompt token of the explained model.
        length: S; positions without characters (the target's) get a zero vector, which is similar to nothing.

    Returns:
        For each position the mean of the encoder's last hidden states over the tokens that share characters with it.

    Raises:
        ModelError: The encoder cannot be loaded, or the text exceeds its window.
    """
    model, tokenizer = _load(source, _state(source))
    encoding = tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
    spans = encoding.pop("offset_mapping")[0]
    window = getattr(model.config, "max_position_embeddings", None)
    if window is not None and len(spans) > window:
        raise ModelError(f"embedder {source!r} reads {window} tokens, the prompt has {len(spans)}; shorten the prompt")
    hidden = model(**encoding).last_hidden_state[0]
    ours = torch.zeros(length, 2, dtype=torch.long)
    ours[: len(offsets)] = torch.tensor(offsets, dtype=torch.long).view(-1, 2)
    shared = torch.minimum(ours[:, None, 1], spans[None, :, 1]) > torch.maximum(ours[:, None, 0], spans[None, :, 0])
    weights = shared.to(hidden.dtype)
    return weights @ hidden / weights.sum(1, keepdim=True).clamp(min=1)
