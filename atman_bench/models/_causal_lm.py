"""Text decoders: tokenisation, units, logits; nothing about methods."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from atman_bench.attention.edit import AttentionEdit, Form
from atman_bench.attention.kv_cache import PrefixStore
from atman_bench.attention.patching import NOT_HOSTED, AttentionHost, Editor, foreign_code
from atman_bench.attention.skipping import are_copies
from atman_bench.core.device_traits import sent
from atman_bench.core.errors import ModelError, SampleError
from atman_bench.core.memory import held_bytes
from atman_bench.core.records import Completion, Explained, Picture, Quantization, Sample, Word, type_name
from atman_bench.core.tensors import Encoded
from atman_bench.models._base import LINE_BREAK, WHOLE, LoadOptions, Pass, Plain
from atman_bench.models._loading import (
    NO_TOKENIZER,
    content_hash,
    hub_options,
    load_weights,
    tokenizer_or_reason,
)
from atman_bench.models._parts import (
    Block,
    Part,
    TextPart,
    alignment_of,
    completion_of,
    encoded_of,
    plain_of,
    prompt_and_target,
    text_part,
    token_texts,
    units_of,
)
from atman_bench.models._probe import TOLERANCE, Probe, ProbeReport
from atman_bench.models._silence import silent_transformers
from atman_bench.models._writing import write_on

SUMMED_TOKENS = 1 << 12
"""Embeddings that are looked up at once: a vocabulary's scaled copy would take as much memory as the table itself."""


class CausalLM:
    """A decoder of transformers with its tokenizer.

    Args:
        name: What tables call it.
        model: In evaluation mode, on its device; a dispatched model is never moved.
        tokenizer: A fast tokenizer (labels are tied to tokens by character offsets), or None for token ids only.
        content_hash: SHA-256 of local weights or a hub revision; part of the fingerprint of stored maps.
        without: Why there is no tokenizer, as it is said of the model.

    Raises:
        ModelError: Attention edits cannot be installed in the model.
    """

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None,
        content_hash: str,
        without: str = NO_TOKENIZER,
    ):
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.content_hash = content_hash
        self.without = without
        self.quantization: Quantization | None = None
        self.host = AttentionHost(model)
        # Now, and not when the first explanation asks: that one would seem to cost more than the others.
        self.activation_bytes = self._measure_activations()

    @property
    def device(self) -> torch.device:
        """Where inputs go: the device of the embeddings."""
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype_name(self) -> str:
        """Name of the weights' type (``float32``), with what linear layers are quantised to (``float32-int8``)."""
        return type_name(str(self.model.dtype).removeprefix("torch."), self.quantization)

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
        """Input embeddings of tokens, without positions."""
        return self.model.get_input_embeddings()(input_ids.to(self.device))

    def embeddings(self, encoded: Encoded) -> Float[Tensor, "1 S D"]:
        """Input embeddings of a sample, images included, without positions."""
        if "inputs_embeds" in encoded.inputs:
            return encoded.inputs["inputs_embeds"].to(self.device)
        return self.embed(encoded.inputs["input_ids"])

    @torch.no_grad()
    def mean_embedding(self) -> Float[Tensor, " D"]:
        """Mean over the vocabulary, as the layers read it: Gemma scales embeddings after looking them up."""
        sums = [self.embed(ids).float().sum(0) for ids in torch.arange(self.vocab_size).split(SUMMED_TOKENS)]
        return torch.stack(sums).sum(0) / self.vocab_size

    def run(self, encoded: Encoded, what: Pass = WHOLE) -> Float[Tensor, "B R V"]:
        """One forward pass over a sample."""
        if what.embeddings is not None:
            inputs = {"inputs_embeds": what.embeddings}
        else:
            ((name, whole),) = encoded.inputs.items()
            rest = whole[:, what.start :]
            inputs = {name: rest.expand(what.batch, *rest.shape[1:])}
        return self.logits(inputs, what.rows_from_start, what.store)

    def logits(
        self, inputs: Mapping[str, Tensor], rows: list[int] | None, store: PrefixStore | None
    ) -> Float[Tensor, "B R V"]:
        """Logits of some rows, or of all (None); keys and values are read from and written to the store.

        With a store, duplicate and unused rows are left out (``attention/skipping.py``). A pass without one is the
        reference, and runs as the model's own code has it.
        """
        keep = 0 if rows is None else sent(torch.tensor(rows), self.device)
        moved = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        if store is None:
            return self.model(**moved, use_cache=False, logits_to_keep=keep).logits
        copies = all(map(are_copies, inputs.values()))
        with nullcontext() if rows is None else self.host.skipping(sorted(set(rows)), copies):
            return self.model(**moved, use_cache=True, past_key_values=store, logits_to_keep=keep).logits

    @torch.inference_mode()
    def plain(self, encoded: Encoded) -> Plain:
        """Target log-probabilities of the unperturbed model, by its own attention."""
        return plain_of(encoded, lambda rows: self.run(encoded, Pass(rows=rows))[0])

    def complete(
        self, prompt: str, max_new_tokens: int, picture: Picture | None = None, stop: Sequence[str] = LINE_BREAK
    ) -> Completion:
        """The model's greedy completion of a prompt, up to its end-of-sequence token or a text that stops it.

        It ends where the context window does.

        Raises:
            EmptyCompletionError: It is empty.
            SampleError: The prompt exceeds the context window, or its image cannot be read.
        """
        return self._continue(self._parts(text_part(self._require_tokenizer(), prompt), picture), max_new_tokens, stop)

    @torch.inference_mode()
    def _continue(self, parts: Sequence[Part], max_new_tokens: int, stop: Sequence[str] = LINE_BREAK) -> Completion:
        length = sum(map(len, parts))
        room = max_new_tokens if self.max_positions is None else self.max_positions + 1 - length
        if room < 1:
            raise SampleError(
                f"{length} tokens exceed the model's context window of {self.max_positions}; shorten the prompt or use "
                "a model with a longer window"
            )
        embeddings = torch.cat([self._part_embeddings(part) for part in parts], dim=1)
        attention_mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=self.device)
        inputs = {"inputs_embeds": embeddings, "attention_mask": attention_mask}
        said = write_on(self.model, self.name, inputs, min(max_new_tokens, room))
        prompt_ids = [i for part in parts if isinstance(part, TextPart) for i in part.ids]
        return completion_of(self._require_tokenizer(), prompt_ids, said, stop)

    def encode(self, sample: Sample) -> Encoded:
        """Tokenise a sample; its units are the tokens that overlap the explained range, or the patches of its image.

        Raises:
            SampleError: The target is empty, the sample exceeds the context window, nothing is explained, or its
                image cannot be read.
        """
        prompt, target = prompt_and_target(self._require_tokenizer(), sample.prompt, sample.target)
        parts = self._parts(prompt, sample.picture)
        return self._assemble(
            sample.uid,
            parts,
            target,
            units_of(parts, sample.explain, sample.picture is not None and sample.explain is None),
            sample.words,
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
        self._check_ids(uid, [*prompt_ids, *target_ids])  # before a tokenizer meets a negative one
        part = TextPart(tuple(prompt_ids), texts=self.token_texts(prompt_ids))
        target = TextPart(tuple(target_ids), texts=self.token_texts(target_ids))
        groups = [[i] for i in range(len(prompt_ids))] if units is None else [list(u) for u in units]
        return self._assemble(uid, [part], target, [part.block(groups)])

    def encode_text(
        self,
        prompt: str,
        target: str,
        units: Sequence[Sequence[int]] | None = None,
        picture: Picture | None = None,
        explained: Explained = Explained.TEXT,
    ) -> Encoded:
        """Encode a prompt and a target.

        Args:
            prompt: The text; an image comes before it.
            target: What is explained, with its leading space.
            units: Groups of positions of the prompt's tokens; None makes every token a unit.
            picture: What the model sees.
            explained: Which part of the prompt is: text, image or both.

        Raises:
            SampleError: As ``encode``.
        """
        if not prompt:
            raise SampleError("the prompt is empty; at least one token is needed to predict from")
        text_before, target_part = prompt_and_target(self._require_tokenizer(), prompt, target)
        parts = self._parts(text_before, picture)
        if units is not None:
            blocks = [text_before.block([list(u) for u in units])]
        else:
            text = None if explained is Explained.IMAGE else (0, len(prompt))
            blocks = units_of(parts, text, explained is not Explained.TEXT)
        return self._assemble("prompt", parts, target_part, blocks)

    def token_texts(self, ids: Sequence[int]) -> tuple[str, ...]:
        """What tokens read, each on its own; without a tokenizer their ids."""
        if self.tokenizer is None:
            return tuple(str(i) for i in ids)
        return token_texts(self.tokenizer, ids)

    def probe(self) -> ProbeReport:
        """Check that edits reach every layer and all that a token does, and that the hosted model is the same model.

        Raises:
            ModelError: An edit is not called in every layer, factors of 1 change the logits, a later token moves
                earlier logits (a lost causal mask), a removed token moves later ones (a path beside attention), or
                restarting in the prefix store changes them.
        """
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(0, self.vocab_size, (1, 12), generator=generator)
        other, changed = ids.clone(), ids.clone()
        other[0, 4] = (other[0, 4] + 1) % self.vocab_size
        changed[0, -1] = (changed[0, -1] + 1) % self.vocab_size
        without = torch.ones(2, 12, device=self.device)
        without[:, 4] = 0
        store = PrefixStore(self.host.n_layers, 12)
        name = type(self.model).__name__
        with torch.inference_mode(), foreign_code(f"{name} {NOT_HOSTED}"):
            own = self.logits({"input_ids": ids}, None, None).float()
            with self.host.applied(Editor(AttentionEdit(torch.ones(1, 12, device=self.device)))) as session:
                hosted = self.logits({"input_ids": ids}, None, None).float()
                calls = list(session.calls)
                later = self.logits({"input_ids": changed}, None, None).float()
            with self.host.applied(Editor(AttentionEdit(without, Form.MASK))):
                removed = self.logits({"input_ids": torch.cat([ids, other])}, None, None)[:, 5:].float()
        probe = Probe(name, own, TOLERANCE.get(self.model.dtype, 1e-3))
        beside = probe.check_removed(*removed.split(1))
        with torch.inference_mode(), foreign_code(f"{name} {NOT_HOSTED}"), self.host.applied(Editor(None)):
            stored = self.logits({"input_ids": ids}, [10, 11], store).float()
            store.restart(6, 1)
            restarted = self.logits({"input_ids": ids[:, 6:]}, [4, 5], store).float()
        probe.check_layers(calls, self.host.n_layers)
        noop = probe.check_same(
            hosted, "factors of 1 change", "the model's attention does something that our edit does not reproduce"
        )
        leak = probe.check_causal(hosted[:, :-1], later[:, :-1], "the model is not causal here")
        kept = max(
            probe.check_same(found, "keeping keys and values changes", "the model keeps more than these", slice(10, 12))
            for found in (stored, restarted)
        )
        details: tuple[str, ...] = (
            f"edit called once in each of {self.host.n_layers} layers",
            f"factors of 1 change logits by {noop:.1e} (relative; limit {probe.tolerance:g})",
            f"a later token changes earlier logits by {leak:.1e}, a removed one later logits by {beside:.1e}",
            f"restarting from kept keys and values changes logits by {kept:.1e}",
        )
        if self.tokenizer is not None and self.tokenizer.is_fast:
            details = (*details, f"alignment: {alignment_of(self.tokenizer)}")
        return ProbeReport(self.host.path, self.host.n_layers, details)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(map(held_bytes, self.model.parameters()))

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
            with (
                torch.inference_mode(),
                self.host.applied(Editor(None)),
                foreign_code(f"{type(self.model).__name__} {NOT_HOSTED}"),
            ):
                self.logits({"input_ids": torch.zeros(1, 8, dtype=torch.long, device=self.device)}, [7], None)
        finally:
            for handle in handles:
                handle.remove()
        # The residual stream and a layer's other projections exist beside the largest module's input and output.
        return max(1, 3 * largest // 8)

    def _require_tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            raise ModelError(f"model {self.name!r} {self.without}; pass prompt_ids and target_ids instead")
        if not self.tokenizer.is_fast:
            raise ModelError(
                f"model {self.name!r} has a slow tokenizer without character offsets, which tie labels to tokens; save "
                "it as a fast tokenizer (tokenizer.json)"
            )
        return self.tokenizer

    def _check_ids(self, uid: str, ids: Sequence[int]) -> None:
        """Raises SampleError for ids outside the vocabulary."""
        bad = [i for i in ids if not 0 <= i < self.vocab_size]
        if bad:
            raise SampleError(f"sample {uid}: token id {bad[0]} is outside the vocabulary of {self.vocab_size}")

    def _parts(self, prompt: TextPart, picture: Picture | None) -> list[Part]:
        """What the model reads before the target, in order."""
        if picture is not None:
            raise SampleError(f"model {self.name!r} reads no pictures: choose one of a vision-language family")
        return [prompt]

    def _part_embeddings(self, part: Part) -> Float[Tensor, "1 N D"]:
        if isinstance(part, TextPart):
            return self.embed(torch.tensor([part.ids]))
        return part.embeddings.to(self.device)

    def _assemble(
        self, uid: str, parts: list[Part], target: TextPart, blocks: list[Block], words: Sequence[Word] = ()
    ) -> Encoded:
        """Put a prompt's parts and its target together."""
        target_ids = list(target.ids)
        ids = [i for part in (*parts, target) if isinstance(part, TextPart) for i in part.ids]
        prompt_length = sum(map(len, parts))
        if not prompt_length:
            raise SampleError(
                f"sample {uid}: the prompt is empty, or one token holds it and the start of the target; at least one "
                "token is needed to predict from"
            )
        if not target_ids:
            raise SampleError(f"sample {uid}: the target is empty; give at least one token to explain")
        self._check_ids(uid, ids)
        length = prompt_length + len(target_ids) - 1
        if self.max_positions is not None and length > self.max_positions:
            raise SampleError(
                f"sample {uid}: {length} tokens exceed the model's context window of {self.max_positions}; "
                "shorten the prompt or use a model with a longer window"
            )
        if all(isinstance(part, TextPart) for part in parts):
            inputs = {"input_ids": torch.tensor([ids[:length]])}
        else:
            with torch.no_grad():
                before = TextPart(target.ids[:-1])
                embeddings = [self._part_embeddings(part) for part in (*parts, before) if len(part)]
            inputs = {"inputs_embeds": torch.cat(embeddings, dim=1)}
        return encoded_of(uid, inputs, parts, target, blocks, words)


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
    model = load_weights(AutoModelForCausalLM, source, options, "a causal language model")
    tokenizer, without = tokenizer_or_reason(source, hub_options(options))
    with silent_transformers():  # the first forward pass may have something to say too
        return CausalLM(name, model, tokenizer, content_hash(Path(source), model, options.revision), without)
