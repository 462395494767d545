"""What a model file defines, and what methods see of a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from atman_bench.attention.kv_cache import PrefixStore
from atman_bench.attention.patching import AttentionHost
from atman_bench.core.records import Dtype, Explained, Picture, Quantization, Sample
from atman_bench.core.tensors import Encoded
from atman_bench.models._probe import ProbeReport

LINE_BREAK = ("\n",)
"""What ends a completion of plain text; an answer in a chat ends at its end-of-text token alone."""


@dataclass(frozen=True)
class Plain:
    """The unperturbed model on one sample.

    Attributes:
        logprobs: Log-probability of each of the T target tokens (natural logarithm).
        answered: Whether each of them is the most likely one, that is whether greedy decoding gives the target.
    """

    logprobs: tuple[float, ...]
    answered: bool


@dataclass(frozen=True)
class Pass:
    """What a forward pass over a sample computes: by default all logits of the sample as it is.

    Attributes:
        start: The first position that runs; those before it are in the store.
        batch: How many copies run.
        rows: Rows whose logits are returned, counted from the sample's first; None returns all.
        store: Keys and values of the positions before; None starts from nothing.
        embeddings: What to run instead of the sample's own embeddings from ``start`` on; may end earlier.
    """

    start: int = 0
    batch: int = 1
    rows: list[int] | None = None
    store: PrefixStore | None = None
    embeddings: Float[Tensor, "B N D"] | None = None

    @property
    def rows_from_start(self) -> list[int] | None:
        """``rows``, counted from the first position that runs."""
        return None if self.rows is None else [row - self.start for row in self.rows]


WHOLE = Pass()
"""The whole sample once, all rows read, nothing kept."""


@runtime_checkable  # the tests check annotations at run time
class ModelAdapter(Protocol):
    """A model as methods, the engine and the runner see it. ``CausalLM`` documents each member."""

    name: str
    model: PreTrainedModel
    host: AttentionHost
    content_hash: str

    @property
    def device(self) -> torch.device:
        """Where inputs go."""

    @property
    def dtype_name(self) -> str:
        """Name of the weights' type, and of what they are quantised to (``float32``, ``float32-int8``)."""

    @property
    def max_positions(self) -> int | None:
        """The context window, if the model declares one."""

    @property
    def activation_bytes(self) -> int:
        """Bytes that one position occupies at a time in a forward pass."""

    @property
    def logit_bytes(self) -> int:
        """Bytes of one row of logits."""

    def embeddings(self, encoded: Encoded) -> Float[Tensor, "1 S D"]:
        """Input embeddings of a sample, without positions."""

    def mean_embedding(self) -> Float[Tensor, " D"]:
        """The mean input embedding, as a baseline of occlusion."""

    def run(self, encoded: Encoded, what: Pass = WHOLE) -> Float[Tensor, "B R V"]:
        """One forward pass over a sample from a position on; logits of some rows, or of all."""

    def plain(self, encoded: Encoded) -> Plain:
        """Target log-probabilities of the unperturbed model."""

    def probe(self) -> ProbeReport:
        """Check that edits work in this model; raises ModelError."""

    def complete(
        self, prompt: str, max_new_tokens: int, picture: Picture | None = None, stop: Sequence[str] = LINE_BREAK
    ) -> str:
        """The model's greedy completion, up to its end-of-text token or the first text that stops it."""

    def encode(self, sample: Sample) -> Encoded:
        """Tokenise a sample; raises SampleError."""

    def encode_ids(
        self,
        prompt_ids: Sequence[int],
        target_ids: Sequence[int],
        units: Sequence[Sequence[int]] | None = None,
        uid: str = "ids",
    ) -> Encoded:
        """Encode token ids."""

    def encode_text(
        self,
        prompt: str,
        target: str,
        units: Sequence[Sequence[int]] | None = None,
        picture: Picture | None = None,
        explained: Explained = Explained.TEXT,
    ) -> Encoded:
        """Encode a prompt and a target."""

    def token_texts(self, ids: Sequence[int]) -> tuple[str, ...]:
        """What tokens read."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""


@dataclass(frozen=True)
class LoadOptions:
    """How to load a model.

    Attributes:
        device: A torch device, or None for CUDA where there is one and the CPU otherwise.
        dtype: Type of the weights.
        quantize: What the weights of a decoder's linear layers are turned into once they are loaded.
        device_map: How transformers spreads a large model (``auto``); it is never moved afterwards.
        revision: Hub revision of the model.
        trust_remote_code: Run code that comes with a checkpoint.
        trust_checkpoint: Read pickled weights.
    """

    device: str | None = None
    dtype: Dtype = Dtype.FLOAT32
    quantize: Quantization | None = None
    device_map: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    trust_checkpoint: bool = False


@dataclass(frozen=True)
class ModelSpec:
    """A model family.

    Attributes:
        summary: One line for ``atman-bench list models``.
        argument: What comes after the colon (``ID_OR_FOLDER``), or an empty string where nothing does.
        load: ``(argument, options) -> adapter``; raises ModelError.
    """

    summary: str
    argument: str
    load: Callable[[str, LoadOptions], ModelAdapter]
