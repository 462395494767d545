"""A decoder that reads images through an image prefix, as MAGMA does: GPT-J with adapters, nothing forked."""

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from transformers import GPTJConfig, GPTJForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from atman_bench.core.errors import SampleError
from atman_bench.core.images import open_picture, rgb_array
from atman_bench.core.records import Completion, PatchUnits, Picture
from atman_bench.core.tensors import Encoded
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models._image_prefix import ImagePrefix
from atman_bench.models._parts import Block, Part, PicturePart, TextPart, following_part

REMEMBERED_BYTES = 1 << 28
"""Memory for encoded images. A run first looks which samples it can use, and later explains them: as long as they fit
here, an image is decoded and encoded once."""


TYPICAL_PICTURE = 1 << 20
"""Bytes of a decoded image of about 600 x 600 pixels."""


class Adapter(nn.Module):
    """Bottleneck after a feed-forward layer: ``x + up(relu(down(x)))`` (MAGMA, section 3.2).

    Args:
        width: Of the decoder.
        size: Of the bottleneck.
    """

    def __init__(self, width: int, size: int):
        super().__init__()
        self.adapter = nn.Sequential(nn.Linear(width, size), nn.ReLU(), nn.Linear(size, width))

    def forward(self, x: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
        """One adapter."""
        return x + self.adapter(x)


def build_decoder(config: GPTJConfig, adapter_size: int | None, embeddings: int | None = None) -> GPTJForCausalLM:
    """A GPT-J with an adapter behind every feed-forward layer, in evaluation mode.

    Args:
        config: Of the GPT-J; its ``vocab_size`` is the number of logits.
        adapter_size: Width of the bottlenecks; None builds none.
        embeddings: Rows of the embedding, where it has fewer than there are logits (MAGMA).
    """
    config = deepcopy(config)
    # The same function in one pass over memory; transformers' own takes eight, a fifth of a small decoder's time.
    if config.activation_function == "gelu_new":
        config.activation_function = "gelu_pytorch_tanh"
    model = GPTJForCausalLM(config)
    # One stop token is all there is, and generation warns where padding is left open.
    model.generation_config.pad_token_id = model.generation_config.eos_token_id
    if embeddings is not None:
        model.transformer.wte = nn.Embedding(embeddings, config.n_embd)
    if adapter_size is not None:
        for block in model.transformer.h:
            block.mlp = nn.Sequential(block.mlp, Adapter(config.n_embd, adapter_size))
    return model.eval()


class PictureLM(CausalLM):
    """A decoder and the image prefix that feeds it; edits, units and losses are those of any decoder.

    An image's tokens stand before the text, and count as positions like the text's own. ``encoder`` is the image
    encoder, for methods that look into it.

    Args:
        name: What tables call it.
        model: The decoder, in evaluation mode, on its device.
        prefix: On the same device; it is put into evaluation mode and never trained.
        tokenizer: A fast tokenizer, or None for token ids only.
        content_hash: SHA-256 of all weights.

    Raises:
        ModelError: Attention edits cannot be installed in the decoder.
    """

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        prefix: ImagePrefix,
        tokenizer: PreTrainedTokenizerBase | None,
        content_hash: str,
    ):
        super().__init__(name, model, tokenizer, content_hash)
        self.prefix = prefix.eval().requires_grad_(False)
        self.encoder: nn.Module = prefix.enc
        rows, columns = prefix.grid
        floats = rows * columns * model.config.n_embd + 3 * prefix.resolution**2
        remembered = max(4, REMEMBERED_BYTES // (4 * floats + TYPICAL_PICTURE))
        self._remembered_part = lru_cache(remembered)(lambda picture: self._part_of(open_picture(picture)))

    def encode_parts(
        self, parts: Sequence[Sequence[int] | Image.Image], target_ids: Sequence[int], uid: str = "parts"
    ) -> Encoded:
        """Encode token ids and images in any order; every position of the prompt is a unit.

        Args:
            parts: The prompt.
            target_ids: The T target tokens.
            uid: Name of the sample.

        Raises:
            SampleError: As ``encode_ids``.
        """
        blocks: list[Block] = []
        pictures = 0
        for given in parts:
            if isinstance(given, Image.Image):
                picture = self._part_of(given, pictures)
                blocks.append(Block(picture.units, picture, [[i] for i in range(len(picture))]))
                pictures += 1
            else:
                text = TextPart(tuple(given), texts=self.token_texts(given))
                blocks.append(text.block([[i] for i in range(len(text))]))
        target = TextPart(tuple(target_ids), texts=self.token_texts(target_ids))
        return self._assemble(uid, [block.part for block in blocks], target, blocks)

    def complete_parts(self, parts: Sequence[str | Picture], max_new_tokens: int) -> Completion:
        """The greedy completion of texts and images in any order; see ``complete``.

        Raises:
            EmptyCompletionError: It is empty.
            SampleError: The prompt exceeds the context window, or an image cannot be read.
        """
        tokenizer = self._require_tokenizer()
        read: list[Part] = []
        before = ""
        for part in parts:
            if isinstance(part, Picture):
                read.append(self._remembered_part(part))
            else:
                read.append(following_part(tokenizer, before, part))
                before += part
        return self._continue(read, max_new_tokens)

    def embeddings_from_pixels(self, encoded: Encoded, pixels: Float[Tensor, "B 3 n n"]) -> Float[Tensor, "B S D"]:
        """Input embeddings of a sample with other pixels in its image's place; differentiable with respect to them.

        Args:
            encoded: A sample with one image.
            pixels: Normalised, as in ``Encoded.pixels``.

        Raises:
            SampleError: The sample has no image, or several.
        """
        if encoded.picture_start is None:
            raise SampleError(f"sample {encoded.uid}: pixels are explained in samples with exactly one picture")
        own = self.embeddings(encoded).detach().expand(len(pixels), -1, -1)
        tokens = self.prefix.encode(pixels).to(own.device)
        first, last = encoded.picture_start, encoded.picture_start + tokens.shape[1]
        return torch.cat([own[:, :first], tokens, own[:, last:]], dim=1)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights: decoder and image prefix."""
        return super().weight_bytes + sum(p.numel() * p.element_size() for p in self.prefix.parameters())

    def _parts(self, prompt: TextPart, picture: Picture | None) -> list[Part]:
        text = super()._parts(prompt, None)
        return text if picture is None else [self._remembered_part(picture), *text]

    @torch.inference_mode(False)  # what is remembered must serve gradient methods too, whoever asked for it first
    @torch.no_grad()
    def _part_of(self, image: Image.Image, index: int = 0) -> PicturePart:
        """Run the image encoder on an image, the index-th of its prompt."""
        pixels, area = self.prefix.preprocess(image)
        units = PatchUnits(self.prefix.grid, area, image.size, index)
        return PicturePart(self.prefix.encode(pixels), units, rgb_array(image), pixels)
