"""How a processor reads a prompt with its image: chat template, the image's placeholder, and what stands behind."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedConfig, ProcessorMixin

from atman_bench.core.errors import ModelError, SampleError
from atman_bench.core.images import rgb_array
from atman_bench.core.records import Completion, PatchUnits
from atman_bench.models._parts import TextPart, prompt_and_target, text_part
from atman_bench.models._patch_grids import ProcessedPictures, patch_grids

MARK = "\ue000"
"""Stands for the prompt while a chat template is filled, so that the prompt's characters can be found in the result."""

PER_TOKEN = frozenset({"input_ids", "token_type_ids", "mm_token_type_ids", "attention_mask"})
"""Outputs of processors with a value for each token."""


@dataclass(frozen=True)
class Reading:
    """A prompt and its image as the processor prepared them.

    Attributes:
        features: The model's inputs.
        prompt: The user's text alone, with offsets in it.
        target: What follows the templated prompt, or None where nothing was given.
        start: Position of the prompt's first token.
        grids: What the image tokens are, in order.
        array: The image's pixels (H, W, 3).
        spaced: Whether the templated text ends in white space, so that the answer starts without a space.
    """

    features: Mapping[str, Tensor]
    prompt: TextPart
    target: TextPart | None
    start: int
    grids: list[PatchUnits]
    array: np.ndarray
    spaced: bool

    @property
    def ids(self) -> list[int]:
        """Tokens of the templated prompt."""
        ids: list[int] = self.features["input_ids"][0].tolist()
        return ids


@dataclass(frozen=True)
class PictureReader:
    """Reads prompts with an image for one model.

    Attributes:
        name: Of the model, for messages.
        config: Of the model.
        processor: With a fast tokenizer.
    """

    name: str
    config: PreTrainedConfig
    processor: ProcessorMixin

    def read(self, prompt: str, image: Image.Image, target: str | None = None) -> Reading:
        """Fill the chat template, let the processor expand the image's placeholder, and put the target behind it.

        Raises:
            SampleError: The processor refuses the prompt or the image.
            ModelError: It reads the text otherwise than its tokenizer does.
        """
        processor, template = self.processor, self._template()
        # Some processors add text of their own around the prompt (PaliGemma).
        layout = processor.prepare_inputs_layout(images=[image], text=template)[1][0]
        bos = processor.tokenizer.bos_token
        special = not (bos and template.startswith(bos))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # PaliGemma's makes arrays the way of numpy 1
                features = dict(
                    processor(
                        images=[image],
                        text=template.replace(MARK, prompt),
                        add_special_tokens=special,
                        return_tensors="pt",
                        return_text_replacement_offsets=True,
                    )
                )
        except ValueError as error:
            raise SampleError(f"the model's processor refuses the prompt or its picture: {error}") from error
        (replacements,) = features.pop("text_replacement_offsets")
        read, target_part = self._behind_picture(
            expanded_text(layout, replacements).replace(MARK, prompt), target, special
        )
        features = self._with_ids(features, read.ids)
        first = layout.index(MARK)
        first += sum(len(r["replacement"]) - len(r["text"]) for r in replacements if r["span"][0] < first)
        last = first + len(prompt)
        ids, offsets = read.ids, read.offsets
        covered = [i for i, (a, b) in enumerate(offsets) if a < min(b, last) and b > first]
        processed = ProcessedPictures(
            self.config,
            processor.image_processor,
            [image.size],
            [r["replacement"] for r in replacements],
            ids.count(self.config.image_token_id),
            features,
        )
        return Reading(
            features,
            TextPart(
                tuple(ids[i] for i in covered),
                prompt,
                tuple((max(a, first) - first, min(b, last) - first) for a, b in (offsets[i] for i in covered)),
                remarks=read.remarks,
            ),
            target_part,
            covered[0] if covered else len(ids),
            patch_grids(processed),
            rgb_array(image),
            layout[-1].isspace(),
        )

    def _template(self) -> str:
        """The chat template with an image and a mark for the prompt; without a template one stands after the other."""
        processor = self.processor
        if processor.chat_template is None:
            return f"{processor.image_token}{MARK}"
        content = [{"type": "image"}, {"type": "text", "text": MARK}]
        filled: str = processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        return filled

    def _behind_picture(self, text: str, target: str | None, special: bool) -> tuple[TextPart, TextPart | None]:
        """Tokens of a templated prompt, and of the target behind it."""
        tokenizer = self.processor.tokenizer
        if target is None:
            return text_part(tokenizer, text, special), None
        if isinstance(target, Completion):
            return prompt_and_target(tokenizer, text, target, special)
        skipped = len(target) - len(target.lstrip(" ")) if text[-1].isspace() else 0
        read, answer = prompt_and_target(tokenizer, text, target[skipped:], special)
        offsets = tuple((a + skipped, b + skipped) for a, b in answer.offsets)
        return read, replace(answer, text=target, offsets=offsets)

    def _with_ids(self, features: Mapping[str, Tensor], ids: Sequence[int]) -> dict[str, Tensor]:
        """The features of a prompt with the tokens that it has before a target: these may differ at its end.

        Raises:
            ModelError: They differ before the end of the image.
        """
        own = features["input_ids"][0].tolist()
        if own == list(ids):
            return dict(features)
        same = next((i for i, (a, b) in enumerate(zip(own, ids, strict=False)) if a != b), min(len(own), len(ids)))
        if self.config.image_token_id in (*own[same:], *ids[same:]):
            raise ModelError(
                f"model {self.name!r}: its processor reads a prompt with a picture otherwise than its tokenizer reads "
                f"the same text, from token {same} on; where the prompt's words lie is not known"
            )
        begun = {n: t[:, :same] if n in PER_TOKEN else t for n, t in features.items()}
        return self.longer(begun, ids[same:])

    def longer(self, features: Mapping[str, Tensor], ids: Sequence[int]) -> dict[str, Tensor]:
        """A prompt's features with further tokens behind it."""
        per_token = {
            "input_ids": torch.tensor([ids], dtype=torch.long),
            # 0 is text everywhere but in PaliGemma, where it is what reads in both directions.
            "token_type_ids": torch.full((1, len(ids)), int(self.config.model_type == "paligemma")),
            "mm_token_type_ids": torch.zeros(1, len(ids), dtype=torch.long),
            "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
        }
        return {
            name: torch.cat([tensor, per_token[name]], dim=1) if name in PER_TOKEN else tensor
            for name, tensor in features.items()
        }


def expanded_text(layout: str, replacements: Sequence[Mapping[str, Any]]) -> str:
    """A prompt's layout with the text that the processor puts in the place of its images."""
    pieces, end = [], 0
    for replacement in sorted(replacements, key=lambda r: r["span"][0]):
        start, stop = replacement["span"]
        pieces += [layout[end:start], replacement["replacement"]]
        end = stop
    return "".join([*pieces, layout[end:]])
