"""Text decoders: tokenisation, units, logits; nothing about methods."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from atman_bench.attention.edit import AttentionEdit
from atman_bench.attention.host import AttentionHost, Editor
from atman_bench.attention.store import PrefixStore
from atman_bench.errors import ConfigError, ModelError, SampleError
from atman_bench.models._base import LoadOptions, Plain, ProbeReport
from atman_bench.models._silence import silent_transformers
from atman_bench.records import Sample, TextUnits
from atman_bench.tensors import Encoded

PROBE_TOLERANCE = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 2e-1}
"""Logits may differ this much between our attention and the model's own: rounding, over many layers."""


class CausalLM:
    """A decoder of transformers with its tokenizer.

    Args:
        name: What tables call it.
        model: In evaluation mode, on its device; a dispatched model is never moved.
        tokenizer: A fast tokenizer (labels are tied to tokens by character offsets), or None for token ids only.
        content_hash: SHA-256 of local weights or a hub revision; part of the fingerprint of stored maps.

    Raises:
        ModelError: Attention edits cannot be installed in the model.
    """

    def __init__(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, content_hash: str):
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.content_hash = content_hash
        self.host = AttentionHost(model)
        # Now, and not when the first explanation asks: that one would seem to cost more than the others.
        self.activation_bytes = self._measure_activations()

    @property
    def device(self) -> torch.device:
        """Where inputs go: the device of the embeddings."""
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype_name(self) -> str:
        """Name of the weights' type (``float32``)."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def vocab_size(self) -> int:
        """Number of embeddings."""
        return self.model.get_input_embeddings().weight.shape[0]

    @property
    def max_positions(self) -> int | None:
        """The context window, or None where the model declares none."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    @property
    def logit_bytes(self) -> int:
        """Bytes of one row of logits, in the model's type and as float32, with its softmax."""
        return self.vocab_size * (self.model.dtype.itemsize + 8)

    def embed(self, input_ids: Int[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """Input embeddings, without positions."""
        return self.model.get_input_embeddings()(input_ids.to(self.device))

    def logits(
        self, inputs: dict[str, Tensor], rows: list[int] | None, store: PrefixStore | None
    ) -> Float[Tensor, "B R V"]:
        """Logits of some rows, or of all (None); keys and values are read from and written to the store."""
        keep = 0 if rows is None else torch.tensor(rows, device=self.device)
        inputs = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        if store is None:
            return self.model(**inputs, use_cache=False, logits_to_keep=keep).logits
        return self.model(**inputs, use_cache=True, past_key_values=store, logits_to_keep=keep).logits

    @torch.inference_mode()
    def plain(self, encoded: Encoded) -> Plain:
        """Target log-probabilities of the unperturbed model, by its own attention."""
        logits = self.logits(dict(encoded.inputs), encoded.target_rows.tolist(), None)[0].float()
        targets = encoded.target_ids.to(logits.device)
        logprobs = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
        return Plain(tuple(logprobs.tolist()), bool((logits.argmax(-1) == targets).all()))

    @torch.inference_mode()
    def complete(self, prompt: str, max_new_tokens: int) -> str:
        """The model's greedy completion of a prompt, up to its end-of-sequence token or the first line break."""
        tokenizer = self._require_tokenizer()
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"].to(self.device)
        grown = self.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens, do_sample=False
        )
        text = tokenizer.decode(grown[0, ids.shape[1] :], skip_special_tokens=True)
        completion = text.lstrip("\n").split("\n")[0].rstrip()
        if not completion.strip():
            raise SampleError(
                f"the model's greedy completion of the prompt is empty (received {text!r}); give a target explicitly"
            )
        return completion

    def encode(self, sample: Sample) -> Encoded:
        """Tokenise a sample; its units are the tokens that overlap the explained range.

        Raises:
            SampleError: The target is empty, the sample exceeds the context window, or no token is explained.
        """
        tokenizer = self._require_tokenizer()
        prompt = tokenizer(sample.prompt, return_offsets_mapping=True)
        offsets: list[tuple[int, int]] = [tuple(o) for o in prompt["offset_mapping"]]
        target_ids = tokenizer(sample.target, add_special_tokens=False)["input_ids"]
        first, last = sample.explain
        explained = [i for i, (a, b) in enumerate(offsets) if a < last and b > first and sample.prompt[a:b].strip()]
        if not explained:
            raise SampleError(f"sample {sample.uid}: no token overlaps the explained range {sample.explain}")
        return self._encode(
            sample.uid, prompt["input_ids"], target_ids, [[i] for i in explained], sample.prompt, offsets
        )

    def encode_ids(
        self,
        prompt_ids: Sequence[int],
        target_ids: Sequence[int],
        units: Sequence[Sequence[int]] | None = None,
        uid: str = "ids",
    ) -> Encoded:
        """Encode token ids; no tokenizer is needed.

        Args:
            prompt_ids: The P prompt tokens.
            target_ids: The T target tokens.
            units: Positions of each unit, or None for one unit per prompt token.
            uid: Name of the sample.

        Raises:
            SampleError: As ``encode``; also for ids outside the vocabulary and units outside the prompt.
        """
        groups = [[i] for i in range(len(prompt_ids))] if units is None else [list(u) for u in units]
        return self._encode(uid, list(prompt_ids), list(target_ids), groups, None, None)

    def encode_text(self, prompt: str, target: str, units: Sequence[Sequence[int]] | None = None) -> Encoded:
        """Encode a prompt and a target; every prompt token is a unit unless ``units`` lists groups of positions."""
        tokenizer = self._require_tokenizer()
        encoding = tokenizer(prompt, return_offsets_mapping=True)
        offsets: list[tuple[int, int]] = [tuple(o) for o in encoding["offset_mapping"]]
        target_ids = tokenizer(target, add_special_tokens=False)["input_ids"]
        groups = [[i] for i in range(len(offsets))] if units is None else [list(u) for u in units]
        return self._encode("prompt", encoding["input_ids"], target_ids, groups, prompt, offsets)

    def token_texts(self, ids: Sequence[int]) -> tuple[str, ...]:
        """What tokens read, each on its own; without a tokenizer their ids."""
        if self.tokenizer is None:
            return tuple(str(i) for i in ids)
        return tuple(self.tokenizer.decode([i]) for i in ids)

    def probe(self) -> ProbeReport:
        """Check that edits reach every layer and that the hosted model is the same model.

        Raises:
            ModelError: An edit is not called in every layer, factors of 1 change the logits, or a later token moves
                earlier logits (a lost causal mask).
        """
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(0, self.vocab_size, (1, 12), generator=generator)
        changed = ids.clone()
        changed[0, -1] = (changed[0, -1] + 1) % self.vocab_size
        tolerance = PROBE_TOLERANCE.get(self.model.dtype, 1e-3)
        with torch.inference_mode():
            own = self.logits({"input_ids": ids}, None, None).float()
            with self.host.applied(Editor(AttentionEdit(torch.ones(1, 12)))) as session:
                hosted = self.logits({"input_ids": ids}, None, None).float()
                calls = list(session.calls)
                later = self.logits({"input_ids": changed}, None, None).float()
        name = type(self.model).__name__
        scale = own.abs().max().clamp(min=1).item()
        if sorted(calls) != list(range(self.host.n_layers)):
            raise ModelError(
                f"{name}: the edit was called for layers {calls}, expected each of {self.host.n_layers} once"
            )
        noop = (own - hosted).abs().max().item() / scale
        if not noop <= tolerance:
            raise ModelError(
                f"{name}: factors of 1 change the logits by {noop:.2g} of their largest value, expected at most "
                f"{tolerance:g}; the model's attention does something that our edit does not reproduce"
            )
        leak = (hosted[:, :-1] - later[:, :-1]).abs().max().item() / scale
        if not leak <= tolerance:
            raise ModelError(f"{name}: a later token moves earlier logits by {leak:.2g}; the model is not causal here")
        details = (
            f"edit called once in each of {self.host.n_layers} layers",
            f"factors of 1 change logits by {noop:.1e} (relative; limit {tolerance:g})",
            f"a later token changes earlier logits by {leak:.1e}",
        )
        return ProbeReport(self.host.path, self.host.n_layers, details)

    def predict_bytes(self, encoded: Encoded) -> int:
        """Estimated peak memory of one plain forward pass, weights included."""
        weights = sum(p.numel() * p.element_size() for p in self.model.parameters())
        return weights + encoded.length * self.activation_bytes + len(encoded.target_ids) * self.logit_bytes

    def _measure_activations(self) -> int:
        """Bytes that one position occupies at a time in a forward pass, from the largest module of a small one."""
        largest = 0

        def measure(module: torch.nn.Module, inputs: tuple[object, ...], output: object) -> None:
            nonlocal largest
            tensors = [t for t in (*inputs, output) if isinstance(t, Tensor) and t.ndim == 3]
            largest = max(largest, sum(t.numel() * t.element_size() for t in tensors))

        head = self.model.get_output_embeddings()
        leaves = [m for m in self.model.modules() if m is not head and not list(m.children())]
        handles = [m.register_forward_hook(measure) for m in leaves]
        try:
            with torch.inference_mode(), self.host.applied(Editor(None)):
                self.logits({"input_ids": torch.zeros(1, 8, dtype=torch.long, device=self.device)}, [7], None)
        finally:
            for handle in handles:
                handle.remove()
        # The residual stream and a layer's other projections live beside the largest module's input and output.
        return max(1, 3 * largest // 8)

    def _require_tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            raise ModelError(
                f"model {self.name!r} has no tokenizer in its folder; pass prompt_ids and target_ids instead"
            )
        if not self.tokenizer.is_fast:
            raise ModelError(
                f"model {self.name!r} has a slow tokenizer without character offsets, which tie labels to tokens; save "
                "it as a fast tokenizer (tokenizer.json)"
            )
        return self.tokenizer

    def _encode(
        self,
        uid: str,
        prompt_ids: list[int],
        target_ids: list[int],
        groups: list[list[int]],
        text: str | None,
        offsets: list[tuple[int, int]] | None,
    ) -> Encoded:
        if not prompt_ids:
            raise SampleError(f"sample {uid}: the prompt is empty; at least one token is needed to predict from")
        if not target_ids:
            raise SampleError(f"sample {uid}: the target is empty; give at least one token to explain")
        bad = [i for i in (*prompt_ids, *target_ids) if not 0 <= i < self.vocab_size]
        if bad:
            raise SampleError(f"sample {uid}: token id {bad[0]} is outside the vocabulary of {self.vocab_size}")
        ids = [*prompt_ids, *target_ids[:-1]]
        if self.max_positions is not None and len(ids) > self.max_positions:
            raise SampleError(
                f"sample {uid}: {len(ids)} tokens exceed the model's context window of {self.max_positions}; "
                "shorten the prompt or use a model with a longer window"
            )
        unit_of_position = [-1] * len(ids)
        for unit, positions in enumerate(groups):
            for position in positions:
                if not 0 <= position < len(prompt_ids) or unit_of_position[position] >= 0:
                    raise SampleError(
                        f"sample {uid}: unit {unit} holds position {position}; units must be disjoint groups of "
                        f"positions in 0..{len(prompt_ids) - 1}"
                    )
                unit_of_position[position] = unit
        pieces = self.token_texts(prompt_ids)
        if text is None or offsets is None:
            units = TextUnits(tuple("".join(pieces[p] for p in g) for g in groups))
            spans = None
        else:
            spans = tuple(
                (min(offsets[p][0] for p in g), max(offsets[p][1] for p in g)) if g else (0, 0) for g in groups
            )
            units = TextUnits(
                tuple(text[a:b] or "".join(pieces[p] for p in g) for (a, b), g in zip(spans, groups, strict=True)),
                spans,
            )
        return Encoded(
            uid=uid,
            inputs={"input_ids": torch.tensor([ids])},
            target_ids=torch.tensor(target_ids),
            target_rows=torch.arange(len(prompt_ids) - 1, len(ids)),
            unit_of_position=torch.tensor(unit_of_position),
            units=units,
            text=text,
            offsets=None if offsets is None else tuple(offsets),
        )


def load_causal_lm(source: str | Path, name: str, options: LoadOptions) -> CausalLM:
    """Load a decoder from a local folder or the Hugging Face hub.

    Args:
        source: Folder made by ``save_pretrained``, or a hub id.
        name: What tables call it.
        options: Device, type and trust.

    Raises:
        ModelError: It does not exist, is not a causal language model, lacks weights, or holds pickled ones without
            ``trust_checkpoint``.
        ConfigError: No such type or device.
    """
    dtype = getattr(torch, options.dtype, None)
    if dtype not in PROBE_TOLERANCE:
        raise ConfigError(f"unknown dtype {options.dtype!r}: expected one of float32, float16, bfloat16")
    device = None if options.device_map else _device(options.device)
    shared = {"revision": options.revision or "main", "trust_remote_code": options.trust_remote_code}
    try:
        with silent_transformers():
            model, loaded = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=dtype,
                # transformers reads pickles with weights_only=True; even so they are asked for explicitly.
                use_safetensors=None if options.trust_checkpoint else True,
                device_map=options.device_map,
                output_loading_info=True,
                **shared,
            )
            tokenizer = None
            with suppress(OSError, ValueError, KeyError, TypeError):  # a folder without tokenizer: token ids only
                tokenizer = _load_tokenizer(source, shared)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"cannot load model {str(source)!r}: {str(error).splitlines()[0]}") from error
    if missing := sorted(loaded["missing_keys"]):
        raise ModelError(
            f"the weights of {str(source)!r} lack {len(missing)} tensors ({missing[0]}, ...), which would stay random; "
            "use a checkpoint of a causal language model"
        )
    if device is not None:
        model = model.to(device)
    with silent_transformers():  # the first forward pass may have something to say too
        return CausalLM(name, model.eval(), tokenizer, _content_hash(Path(source), model, options.revision))


def _load_tokenizer(source: str | Path, shared: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """Load a tokenizer as what its folder declares it to be.

    AutoTokenizer overrides the generic class by the model's own (5.23: Qwen2's splitting rules over any tokenizer.json
    in a qwen2 folder), and the same weights then read other tokens.
    """
    declared = get_tokenizer_config(source, **shared).get("tokenizer_class")
    generic = declared in {"TokenizersBackend", "PreTrainedTokenizerFast"}
    return (PreTrainedTokenizerFast if generic else AutoTokenizer).from_pretrained(source, **shared)


def _device(name: str | None) -> torch.device:
    """A device that exists."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise ConfigError(
            f"device {name!r} cannot be used: {str(error).splitlines()[0]}; 'atman-bench doctor' lists what there is"
        ) from error
    return device


def _content_hash(source: Path, model: PreTrainedModel, revision: str | None) -> str:
    """SHA-256 over a local folder's weights, config and tokenizer; for a hub model the commit that was loaded."""
    if not source.is_dir():
        return getattr(model.config, "_commit_hash", None) or revision or "unknown"
    digest = hashlib.sha256()
    for path in sorted(p for p in source.iterdir() if p.suffix in {".safetensors", ".bin", ".json", ".model", ".gguf"}):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
