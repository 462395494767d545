"""BLIP-2: an image reaches the decoder as 32 queries without a position in it, so the vision encoder is explained."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Blip2ForConditionalGeneration, PreTrainedTokenizerBase

from atman_bench.core.errors import ModelError, SampleError
from atman_bench.core.records import Completion, Picture
from atman_bench.models._base import LINE_BREAK, LoadOptions
from atman_bench.models._loading import content_hash, hub_options, load_weights, tokenizer_or_reason
from atman_bench.models._parts import TextPart, completion_of, prompt_and_target, text_part
from atman_bench.models._vision_tower import Texts, VisionTowerAdapter
from atman_bench.models._writing import write_on


class Blip2Answerer(Blip2ForConditionalGeneration):
    """BLIP-2, run from its vision encoder's embeddings on: that is where edits and replaced embeddings come in."""

    def forward(self, inputs_embeds: Float[Tensor, "B S D"], input_ids: Int[Tensor, "B N"]) -> Float[Tensor, "B N V"]:
        """Logits of the decoder for image tokens, prompt and target[:-1]."""
        patches = self.vision_model.encoder(inputs_embeds=inputs_embeds).last_hidden_state
        picture = self.vision_model.post_layernorm(patches)
        queries = self.qformer(
            query_embeds=self.query_tokens.expand(len(picture), -1, -1), encoder_hidden_states=picture
        ).last_hidden_state
        prefix = self.language_projection(queries.to(picture.dtype))
        words = self.get_input_embeddings()(input_ids)
        image = self.get_placeholder_mask(input_ids, words)
        # Not an all-ones attention mask: causal positions are the same without one.
        return self.language_model(inputs_embeds=words.masked_scatter(image, prefix.to(words)), use_cache=False).logits


class Blip2(VisionTowerAdapter):
    """BLIP-2 with a decoder-only language model: the image is explained, by attention edits in the vision encoder.

    Args:
        name: What tables call it.
        model: In evaluation mode, on its device.
        tokenizer: With the image token that stands for a query.
        content_hash: SHA-256 of local weights or a hub revision.

    Raises:
        ModelError: Its language model is an encoder-decoder, its configuration names no image token, or attention edits
            cannot be installed in the vision encoder.
    """

    def __init__(self, name: str, model: Blip2Answerer, tokenizer: PreTrainedTokenizerBase, content_hash: str):
        config = model.config
        if not config.use_decoder_only_language_model or config.image_token_id is None:
            raise ModelError(
                f"model {name!r}: expected a BLIP-2 with a decoder-only language model (OPT) and an image_token_index, "
                f"received {config.text_config.model_type!r} with image_token_index={config.image_token_id}"
            )
        super().__init__(name, model, model.vision_model, tokenizer, content_hash)

    def texts(self, uid: str, prompt: str, target: str) -> Texts:
        """Tokenise a prompt, which the image tokens precede, and a target.

        Raises:
            SampleError: They are longer than the decoder's context window.
        """
        text, answer = prompt_and_target(self.tokenizer, prompt, target)
        before, target_ids = self._behind_picture(text), answer.ids
        ids = [*before, *target_ids[:-1]]
        most = getattr(self.model.config.text_config, "max_position_embeddings", len(ids))
        if len(ids) > most:
            raise SampleError(f"sample {uid}: {len(ids)} tokens exceed the model's context window of {most}")
        remarks = (*text.remarks, *answer.remarks)
        return Texts({"input_ids": torch.tensor([ids])}, target_ids, len(before) - 1, remarks=remarks)

    @torch.inference_mode()
    def complete(
        self, prompt: str, max_new_tokens: int, picture: Picture | None = None, stop: Sequence[str] = LINE_BREAK
    ) -> Completion:
        """The model's greedy completion, up to its end token or a text that stops it.

        Raises:
            SampleError: It is empty, or there is no readable image.
        """
        _, pixels = self.read_picture(picture)
        text = text_part(self.tokenizer, prompt)
        ids = self._behind_picture(text)
        inputs = {
            "pixel_values": pixels.to(self.device, self.model.dtype),
            "input_ids": torch.tensor([ids], device=self.device),
        }
        grown = write_on(self.model, self.name, inputs, max_new_tokens)
        return completion_of(self.tokenizer, text.ids, grown[len(ids) :], stop)

    def _behind_picture(self, prompt: TextPart) -> list[int]:
        # As in transformers' processor: the image tokens stand even before the start token.
        config = self.model.config
        return [config.image_token_id] * config.num_query_tokens + list(prompt.ids)


def load_blip2(source: str | Path, name: str, options: LoadOptions) -> Blip2:
    """Load a BLIP-2 from a local folder or the Hugging Face hub.

    Args:
        source: Folder made by ``save_pretrained``, or a hub id.
        name: What tables call it.
        options: Device, type and trust.

    Raises:
        ModelError: It does not exist, lacks weights or a tokenizer, or has an encoder-decoder language model.
        ConfigError: No such type or device.
    """
    model = load_weights(Blip2Answerer, source, options, "a BLIP-2 for conditional generation")
    tokenizer, without = tokenizer_or_reason(source, hub_options(options))
    if tokenizer is None:
        raise ModelError(f"model {name!r} {without}: it cannot be asked about a picture")
    return Blip2(name, model, tokenizer, content_hash(Path(source), model, options.revision))
