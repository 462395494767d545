"""Vision-language models of transformers whose image tokens stand in the language model's sequence.

The whole model runs once per sample, up to the point where its text decoder would start: what the decoder is called
with (embeddings, positions, masks) is kept. Every perturbation replays the decoder alone, from any position on, so the
image encoder runs once per image.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, PreTrainedModel, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from atman_bench.attention.edit import AttentionEdit
from atman_bench.attention.kv_cache import PrefixStore
from atman_bench.attention.patching import NOT_HOSTED, Editor, foreign_code
from atman_bench.core.errors import ModelError, SampleError
from atman_bench.core.images import open_picture
from atman_bench.core.records import Completion, Explained, Picture, Sample, Word
from atman_bench.core.tensors import Encoded
from atman_bench.models._base import LINE_BREAK, WHOLE, LoadOptions, Pass
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models._decoder_call import (
    DecoderCalled,
    arguments_of,
    hooked,
    restarts_of,
    tensors_of,
    visible_columns,
)
from atman_bench.models._loading import UNLIMITED, content_hash, hub_options, load_weights, loading
from atman_bench.models._parts import (
    Block,
    Part,
    PicturePart,
    TextPart,
    completion_of,
    encoded_of,
    text_part,
    units_of,
)
from atman_bench.models._picture_reading import PictureReader, Reading
from atman_bench.models._probe import TOLERANCE, Probe, ProbeReport
from atman_bench.models._silence import silent_transformers
from atman_bench.models._writing import write_on

REMEMBERED_SAMPLES = 4
"""All methods explain a sample before the next one comes."""

UNUSED_FEATURES = frozenset({"attention_mask", "labels"})
"""Outputs of processors that only serve padding and training."""


@dataclass(frozen=True)
class Frame:
    """Tokens of a chat template, or between tiles: never explained."""

    ids: tuple[int, ...]
    text: None = None

    def __len__(self) -> int:
        return len(self.ids)


class VisionLM(CausalLM):
    """A vision-language model with its processor; texts without an image are read as by any decoder.

    Args:
        name: What tables call it.
        model: In evaluation mode, on its device; a dispatched model is never moved.
        processor: With a fast tokenizer; None where a folder has none: token ids only.
        content_hash: SHA-256 of local weights or a hub revision.

    Raises:
        ModelError: Attention edits cannot be installed in the decoder.
    """

    def __init__(self, name: str, model: PreTrainedModel, processor: ProcessorMixin | None, content_hash: str):
        super().__init__(name, model, None if processor is None else processor.tokenizer, content_hash)
        self.processor = processor
        self.decoder: PreTrainedModel = model.get_decoder()
        self._prepared = lru_cache(REMEMBERED_SAMPLES)(self._prepare)

    def run(self, encoded: Encoded, what: Pass = WHOLE) -> Float[Tensor, "B R V"]:
        """One pass of the decoder over a sample.

        Replaced embeddings of image tokens leave what later layers add to them alone (Qwen3-VL's deepstack features).
        """
        if "inputs_embeds" not in encoded.inputs:
            return super().run(encoded, what)
        embeddings = what.embeddings
        if embeddings is None:
            embeddings = encoded.inputs["inputs_embeds"][:, what.start :].expand(what.batch, -1, -1)
        end = what.start + embeddings.shape[1]
        arguments = arguments_of(encoded.inputs, self.decoder, what.start, end, len(embeddings))

        def hand_over(module: nn.Module, args: tuple[object, ...], own: dict[str, Any]) -> Any:
            return args, own | arguments

        # The model's own forward runs around the decoder, since what comes after it differs (softcaps, scales).
        with hooked(self.decoder, hand_over):
            return self.logits({"inputs_embeds": embeddings}, what.rows_from_start, what.store)

    @torch.inference_mode()
    def complete(
        self, prompt: str, max_new_tokens: int, picture: Picture | None = None, stop: Sequence[str] = LINE_BREAK
    ) -> Completion:
        """The model's greedy completion of a prompt, up to its end-of-sequence token or a text that stops it.

        Raises:
            SampleError: It is empty.
        """
        if picture is None:
            self._require_text_alone()
            ids = text_part(self._require_tokenizer(), prompt).ids
            features = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
            spaced = False
        else:
            reading = self._read(prompt, picture)
            features = {n: t for n, t in reading.features.items() if n != "labels"}
            spaced = reading.spaced
        moved = {name: tensor.to(self.device) for name, tensor in features.items()}
        with self._reset_rope_deltas():
            grown = write_on(self.model, self.name, moved, max_new_tokens)
        length = features["input_ids"].shape[1]
        completion = completion_of(self._require_tokenizer(), grown[:length], grown[length:], stop)
        # A target starts with a space, which the template may have written already.
        return Completion(f" {completion.lstrip()}", completion.ids) if spaced else completion

    def encode(self, sample: Sample) -> Encoded:
        """Tokenise a sample; its units are the tokens that overlap the explained range, or the patches of its image.

        Raises:
            SampleError: As ``CausalLM.encode``; also for an explained word whose row attends to later tokens.
            ModelError: The patch grid of this model is not known.
        """
        if sample.picture is None:
            return super().encode(sample)
        parts, target, inputs = self._prepared(sample.prompt, sample.target, _ids(sample.target), sample.picture)
        blocks = units_of(parts, sample.explain, sample.explain is None)
        return self._encoded(sample.uid, inputs, parts, target, blocks, sample.words)

    def encode_text(
        self,
        prompt: str,
        target: str,
        units: Sequence[Sequence[int]] | None = None,
        picture: Picture | None = None,
        explained: Explained = Explained.TEXT,
    ) -> Encoded:
        """Encode a prompt and a target; see ``CausalLM.encode_text``.

        With an image the prompt goes through the model's chat template, whose own words are never explained.

        Raises:
            SampleError: As ``encode``.
            ModelError: As ``encode``.
        """
        if picture is None:
            return super().encode_text(prompt, target, units)
        parts, part, inputs = self._prepared(prompt, target, _ids(target), picture)
        if units is not None:
            text = next(p for p in parts if isinstance(p, TextPart))
            blocks = [text.block([list(unit) for unit in units])]
        else:
            blocks = units_of(
                parts, None if explained is Explained.IMAGE else (0, len(prompt)), explained is not Explained.TEXT
            )
        return self._encoded("prompt", inputs, parts, part, blocks)

    def probe(self) -> ProbeReport:
        """As ``CausalLM.probe``, on a text and on an image, as far as the model reads them.

        Raises:
            ModelError: As ``CausalLM.probe``, or the replayed decoder is not the whole model.
        """
        if self.processor is None:
            return super().probe()
        details = self._probe_picture()
        if not self.reads_text_alone:
            return ProbeReport(self.host.path, self.host.n_layers, details)
        report = super().probe()
        return replace(report, details=(*report.details, *details))

    def _probe_picture(self) -> tuple[str, ...]:
        reading = self._reader().read("What is this?", Image.linear_gradient("L").resize((64, 48)).convert("RGB"))
        ids = reading.ids
        inputs = self._capture(reading.features, [])
        encoded = encoded_of("probe", inputs, [TextPart(tuple(ids))], TextPart((0,)), [])
        visible = visible_columns(inputs)
        last = len(ids) - 1
        causal = last if visible is None else restarts_of(visible)[-1]
        store = PrefixStore(self.host.n_layers, len(ids))
        name = f"{type(self.model).__name__} with a picture"
        with torch.inference_mode(), foreign_code(f"{name} {NOT_HOSTED}"):
            with self._reset_rope_deltas():
                own = self.model(**self._extended(reading.features, []), use_cache=False).logits.float()
            with self.host.applied(Editor(AttentionEdit(torch.ones(1, len(ids))))) as session:
                hosted = self.run(encoded).float()
                calls = list(session.calls)
                changed = inputs["inputs_embeds"].clone()
                changed[:, -1] = 0
                later = self.run(encoded, Pass(embeddings=changed)).float()
            with self.host.applied(Editor(None)):
                self.run(encoded, Pass(rows=[last], store=store))
                store.restart(causal, 1)
                restarted = self.run(encoded, Pass(causal, rows=[last], store=store)).float()
        probe = Probe(name, own, TOLERANCE.get(self.model.dtype, 1e-3))
        probe.check_layers(calls, self.host.n_layers)
        noop = probe.check_same(
            hosted, "replaying the decoder changes", "the decoder depends on something that is not handed to it"
        )
        kept = probe.check_same(
            restarted, "keeping keys and values changes", "the decoder keeps more than these", slice(last, last + 1)
        )
        leak = probe.check_causal(hosted[:, :causal], later[:, :causal], "the mask hides it, and yet it is seen")
        return (
            f"replaying a picture changes logits by {noop:.1e}, a later token changes earlier ones by {leak:.1e}",
            f"restarting behind a picture changes logits by {kept:.1e}",
        )

    @property
    def reads_text_alone(self) -> bool:
        """Whether a text without an image is read from left to right (PaliGemma has no such prompts)."""
        return not getattr(self.model.config.get_text_config(), "use_bidirectional_attention", None)

    def _require_text_alone(self) -> None:
        if not self.reads_text_alone:
            raise SampleError(f"model {self.name!r} reads no prompt without a picture: give it one")

    def _assemble(
        self, uid: str, parts: list[Part], target: TextPart, blocks: list[Block], words: Sequence[Word] = ()
    ) -> Encoded:
        self._require_text_alone()
        return super()._assemble(uid, parts, target, blocks, words)

    def _require_processor(self) -> ProcessorMixin:
        self._require_tokenizer()
        if self.processor is None:
            raise ModelError(f"model {self.name!r} has no processor in its folder, and cannot be given pictures")
        return self.processor

    def _read(self, prompt: str, picture: Picture, target: str | None = None) -> Reading:
        return self._reader().read(prompt, open_picture(picture).convert("RGB"), target)

    def _reader(self) -> PictureReader:
        return PictureReader(self.name, self.model.config, self._require_processor())

    def _prepare(
        self, prompt: str, target: str, ids: tuple[int, ...] | None, picture: Picture
    ) -> tuple[list[Any], TextPart, dict[str, Tensor]]:
        """Parts of the templated prompt, the target, and what the decoder is called with for both.

        Equal texts with other tokens are other targets: ``ids`` tells them apart where readings are remembered.
        """
        reading = self._read(prompt, picture, target if ids is None else Completion(target, ids))
        answer = reading.target
        if answer is None or not len(answer):
            raise SampleError("the target is empty; give at least one token to explain")
        length = len(reading.ids) + len(answer) - 1
        if self.max_positions is not None and length > self.max_positions:
            raise SampleError(
                f"{length} tokens exceed the model's context window of {self.max_positions}; shorten the prompt, use a "
                "smaller picture, or a model with a longer window"
            )
        inputs = self._capture(reading.features, [*answer.ids[:-1]])
        return self._placed(reading, inputs["inputs_embeds"]), answer, inputs

    def _placed(self, reading: Reading, embeddings: Float[Tensor, "1 S D"]) -> list[Any]:
        """The parts of a prompt in order: its images' patches, the user's text, and frames between them."""
        ids, token = reading.ids, self.model.config.image_token_id
        image_positions = [i for i, token_id in enumerate(ids) if token_id == token]
        parts: dict[int, PicturePart | TextPart] = {}
        for grid in reading.grids:
            run, image_positions = image_positions[: len(grid)], image_positions[len(grid) :]
            if run != list(range(run[0], run[0] + len(grid))):
                raise ModelError(
                    f"model type {self.model.config.model_type!r} puts other tokens between a picture's patches: where "
                    "they lie is not known"
                )
            parts[run[0]] = PicturePart(embeddings[:, run[0] : run[0] + len(grid)], grid, reading.array)
        parts[reading.start] = reading.prompt
        placed: list[Any] = []
        position = 0
        for start, part in sorted(parts.items()):
            placed += [Frame(tuple(ids[position:start])), part]
            position = start + len(part)
        return [*placed, Frame(tuple(ids[position:]))]

    def _encoded(
        self,
        uid: str,
        inputs: dict[str, Tensor],
        parts: list[Any],
        target: TextPart,
        blocks: list[Block],
        words: Sequence[Word] = (),
    ) -> Encoded:
        encoded = encoded_of(uid, inputs, parts, target, blocks, words)
        visible = visible_columns(inputs)
        ahead = visible is not None and any(
            bool(visible[: row + 1, row + 1 :].any()) for row in encoded.target_rows.tolist()
        )
        if ahead:
            raise SampleError(
                f"sample {uid}: the model reads the prompt in both directions there, so that a word is not predicted "
                "from what stands before it; explain the target instead"
            )
        array = next(part.array for part in parts if isinstance(part, PicturePart))
        return replace(encoded, pictures=(array,), restarts=None if visible is None else restarts_of(visible))

    @torch.inference_mode(False)  # what is remembered must serve gradient methods too, whoever asked for it first
    @torch.no_grad()
    def _capture(self, features: Mapping[str, Tensor], target_ids: Sequence[int]) -> dict[str, Tensor]:
        """What the decoder is called with for a prompt and the tokens that follow it."""

        def stop(module: nn.Module, args: tuple[object, ...], arguments: dict[str, object]) -> None:
            raise DecoderCalled(arguments)

        extended = self._extended(features, target_ids)
        try:
            # Hosted, because only then are masks always made, as booleans.
            with hooked(self.decoder, stop), self.host.applied(Editor(None)), self._reset_rope_deltas():
                self.model(**extended, use_cache=False)
        except DecoderCalled as call:
            return tensors_of(call.arguments, self.model)
        raise ModelError(f"{type(self.model).__name__} never called its decoder {type(self.decoder).__name__}")

    def _extended(self, features: Mapping[str, Tensor], ids: Sequence[int]) -> dict[str, Tensor]:
        """What the model reads of a prompt's features, with further tokens behind it, on its device."""
        longer = self._reader().longer(features, ids)
        return {name: tensor.to(self.device) for name, tensor in longer.items() if name not in UNUSED_FEATURES}

    @contextmanager
    def _reset_rope_deltas(self) -> Iterator[None]:
        """Reset the position offset of the last image, which Qwen-VL would add to texts that follow."""
        try:
            yield
        finally:
            for module in self.model.modules():
                if getattr(module, "rope_deltas", None) is not None:
                    module.rope_deltas = None


def _ids(target: str) -> tuple[int, ...] | None:
    return target.ids if isinstance(target, Completion) else None


def load_vision_lm(source: str | Path, model_type: str, name: str, options: LoadOptions) -> VisionLM:
    """Load a vision-language model from a local folder or the Hugging Face hub.

    Args:
        source: Folder made by ``save_pretrained``, or a hub id.
        model_type: Of its configuration.
        name: What tables call it.
        options: Device, type and trust.

    Raises:
        ModelError: It does not exist, lacks weights, holds pickled ones without ``trust_checkpoint``, or its processor
            cannot be loaded.
        ConfigError: No such type or device.
    """
    model = load_weights(AutoModelForImageTextToText, source, options, "a vision-language model")
    processor = None
    # A folder without a processor: token ids only.
    with loading(f"the processor of {str(source)!r}"), suppress(OSError):
        processor = processor_class(model_type).from_pretrained(source, **hub_options(options))
        processor.tokenizer.model_max_length = UNLIMITED
    with silent_transformers():  # the first forward pass may have something to say too
        return VisionLM(name, model, processor, content_hash(Path(source), model, options.revision, template=True))


def processor_class(model_type: str) -> type[ProcessorMixin]:
    """The processor of a family, without its half for videos, which would need torchvision.

    Raises:
        ModelError: Transformers has none.
    """
    name = PROCESSOR_MAPPING_NAMES.get(model_type)
    if name is None:
        raise ModelError(f"transformers has no processor for model type {model_type!r}")
    # SmolVLM's differs in videos only, and wants a package for these before it reads an image.
    whole: Any = getattr(transformers, "Idefics3Processor" if name == "SmolVLMProcessor" else name)
    attributes = [attribute for attribute in whole.get_attributes() if attribute != "video_processor"]
    # transformers loads and checks what this class method lists.
    return type(whole.__name__, (whole,), {"get_attributes": classmethod(lambda cls: attributes)})
