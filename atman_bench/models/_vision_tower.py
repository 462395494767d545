"""Models whose images an encoder of their own reads: attention is edited in there and nowhere else (paper A.10)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atman_bench.attention.edit import AttentionEdit, Form
from atman_bench.attention.patching import AttentionHost, Editor
from atman_bench.core.errors import ModelError, SampleError
from atman_bench.core.images import open_picture, rgb_array
from atman_bench.core.records import Explained, PatchUnits, Picture, Sample
from atman_bench.core.tensors import Encoded
from atman_bench.models._base import LINE_BREAK, WHOLE, Pass, Plain
from atman_bench.models._image_prefix import CLIP_MEAN, CLIP_STD, normalised, squashed
from atman_bench.models._parts import plain_of, token_texts
from atman_bench.models._probe import TOLERANCE, Probe, ProbeReport


@dataclass(frozen=True)
class Texts:
    """What a model reads beside the image.

    Attributes:
        inputs: Token ids under the names that the model's ``forward`` gives them, each (1, N).
        target_ids: The T tokens whose loss is explained.
        first_row: The row of the logits that predicts the first of them; the others follow.
        answer_ids: The whole answer, of which the targets are the beginning; None means that they are all of it.
        remarks: What a reader has to know about how the texts became tokens.
    """

    inputs: Mapping[str, Tensor]
    target_ids: tuple[int, ...]
    first_row: int
    answer_ids: tuple[int, ...] | None = None
    remarks: tuple[str, ...] = ()


class VisionTowerAdapter(ABC):
    """A model of which the vision tower is explained: its S positions are a class token and, row by row, the patches.

    Every position sees every other one, so that an edit runs the whole tower again; the texts are short and run along.

    Args:
        name: What tables call it.
        model: In evaluation mode, on its device. ``model(inputs_embeds=(B, S, D), **texts)`` gives logits (B, R, V);
            ``inputs_embeds`` are what ``tower.embeddings`` makes of pixels, positions included.
        tower: Its vision encoder.
        tokenizer: Of its texts.
        content_hash: SHA-256 of local weights or a hub revision; part of the fingerprint of stored maps.

    Raises:
        ModelError: Attention edits cannot be installed in the tower, or it does not read squares.
    """

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        tower: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        content_hash: str,
    ):
        self.name = name
        self.model = model
        self.tower = tower
        self.tokenizer = tokenizer
        self.content_hash = content_hash
        self.resolution, patch = tower.config.image_size, tower.config.patch_size
        if not isinstance(self.resolution, int) or not isinstance(patch, int) or self.resolution % patch:
            raise ModelError(
                f"model {name!r}: expected square pictures of whole square patches, received pictures of "
                f"{self.resolution} pixels and patches of {patch}"
            )
        self.grid = (self.resolution // patch,) * 2
        self.host = AttentionHost(tower, lambda: tower(pixel_values=self._no_pixels()))

    @abstractmethod
    def texts(self, uid: str, prompt: str, target: str) -> Texts:
        """Tokenise what the model reads beside the image.

        Raises:
            SampleError: The texts do not fit the model.
        """

    @abstractmethod
    def complete(
        self, prompt: str, max_new_tokens: int, picture: Picture | None = None, stop: Sequence[str] = LINE_BREAK
    ) -> str:
        """The model's greedy answer, up to its end token or a text that stops it.

        Raises:
            SampleError: It is empty, or there is no readable image.
        """

    @property
    def encoder(self) -> nn.Module:
        """What turns pixels into the tower's embeddings (methods at pixel granularity)."""
        return self.tower.embeddings

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return self.tower.device

    @property
    def dtype_name(self) -> str:
        """Name of the weights' type (``float32``)."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return self.model.config.get_text_config().vocab_size

    @property
    def max_positions(self) -> int | None:
        """None: every sample is as long as the tower's grid is large."""
        return None

    @property
    def activation_bytes(self) -> int:
        """Bytes that one position occupies at a time: the feed-forward layer before and after its activation function.

        As for decoders, the residual stream and a layer's other projections are taken to double that.
        """
        return 3 * 2 * self.tower.config.intermediate_size * self.model.dtype.itemsize

    @property
    def logit_bytes(self) -> int:
        """Bytes of one row of logits, in the model's type and as float32, with its softmax."""
        return self.vocab_size * (self.model.dtype.itemsize + 8)

    def embeddings(self, encoded: Encoded) -> Float[Tensor, "1 S D"]:
        """What the tower's layers read: class token and patches, positions included."""
        return self.embeddings_from_pixels(encoded, encoded.inputs["pixel_values"])

    def embeddings_from_pixels(self, encoded: Encoded, pixels: Float[Tensor, "B 3 n n"]) -> Float[Tensor, "B S D"]:
        """The same for other pixels in the image's place; differentiable with respect to them."""
        return self.tower.embeddings(pixels.to(self.device, self.model.dtype))

    @torch.no_grad()
    def mean_embedding(self) -> Float[Tensor, " D"]:
        """Mean over the patches of an image without content, all of it in the mean colour."""
        return self.tower.embeddings(self._no_pixels())[0, 1:].float().mean(0)

    def run(self, encoded: Encoded, what: Pass = WHOLE) -> Float[Tensor, "B R V"]:
        """One forward pass over a sample, always over all of it: no position is independent of a later one.

        Raises:
            ValueError: Fewer embeddings than positions are given: an encoder would compute something else from them.
        """
        embeddings = what.embeddings
        if embeddings is None:
            embeddings = self.embeddings(encoded).expand(what.batch, -1, -1)
        if embeddings.shape[1] != encoded.length:
            raise ValueError(f"an encoder reads all {encoded.length} positions, received {embeddings.shape[1]}")
        texts = {k: v.to(self.device).expand(what.batch, -1) for k, v in encoded.inputs.items() if k != "pixel_values"}
        logits: Tensor = self.model(inputs_embeds=embeddings, **texts)
        return logits if what.rows is None else logits[:, what.rows]

    @torch.inference_mode()
    def plain(self, encoded: Encoded) -> Plain:
        """Target log-probabilities of the unperturbed model, by its own attention."""
        return plain_of(encoded, lambda rows: self.run(encoded, Pass(rows=rows))[0])

    def encode(self, sample: Sample) -> Encoded:
        """Tokenise a sample; its units are the patches of its image.

        Raises:
            SampleError: It has no image, explains text, or its texts do not fit the model.
        """
        if sample.explain is not None or sample.words:
            raise SampleError(f"model {self.name!r} explains the answer by the picture alone: no part of its prompt")
        return self._encode(sample.uid, sample.prompt, sample.target, sample.picture)

    def encode_text(
        self,
        prompt: str,
        target: str,
        units: Sequence[Sequence[int]] | None = None,
        picture: Picture | None = None,
        explained: Explained = Explained.TEXT,
    ) -> Encoded:
        """Encode a prompt and a target; only ``explained="image"`` is possible.

        Raises:
            SampleError: As ``encode``.
        """
        if units is not None or explained is not Explained.IMAGE:
            raise SampleError(
                f"model {self.name!r} is explained by its picture only: set explained to 'image' and leave units out, "
                f"received explained={explained.value!r}"
            )
        return self._encode("prompt", prompt, target, picture)

    def encode_ids(
        self,
        prompt_ids: Sequence[int],
        target_ids: Sequence[int],
        units: Sequence[Sequence[int]] | None = None,
        uid: str = "ids",
    ) -> Encoded:
        """Refused: token ids alone are no input of these models.

        Raises:
            SampleError: Always.
        """
        raise SampleError(
            f"model {self.name!r} answers questions about a picture: give a picture, a prompt and a target"
        )

    def token_texts(self, ids: Sequence[int]) -> tuple[str, ...]:
        """What tokens read, each on its own."""
        return token_texts(self.tokenizer, ids)

    @torch.inference_mode()
    def probe(self) -> ProbeReport:
        """Check that edits reach every layer of the tower and the answer, and that the hosted model is the same model.

        Raises:
            ModelError: An edit is not called in every layer, factors of 1 change the logits, or hiding all patches
                changes nothing.
        """
        pixels = torch.randn(self._no_pixels().shape, generator=torch.Generator().manual_seed(0))
        encoded = self._encoded("probe", pixels, self.texts("probe", "What is this?", "a picture"), ())
        ones = torch.ones(1, encoded.length, device=self.device)
        hidden = torch.where(encoded.unit_of_position.to(self.device) >= 0, 0, ones)
        own = self.run(encoded).float()
        with self.host.applied(Editor(AttentionEdit(ones))) as session:
            hosted = self.run(encoded).float()
        with self.host.applied(Editor(AttentionEdit(hidden, Form.MASK))):
            blind = self.run(encoded).float()
        probe = Probe(type(self.tower).__name__, own, TOLERANCE[self.model.dtype])
        probe.check_layers(session.calls, self.host.n_layers)
        noop = probe.check_same(
            hosted, "factors of 1 change", "the encoder's attention does something that our edit does not reproduce"
        )
        moved = probe.difference(own, blind)
        if moved <= noop:
            raise ModelError(
                f"{probe.name}: hiding all patches changes no logit; the answer does not depend on the picture"
            )
        details = (
            f"edit called once in each of {self.host.n_layers} layers of the vision encoder",
            f"factors of 1 change logits by {noop:.1e} (relative; limit {probe.tolerance:g})",
            f"hiding all patches changes logits by {moved:.1e}",
            f"LayerNorm of the vision encoder: eps {self.tower.config.layer_norm_eps:g}",
        )
        return ProbeReport(self.host.path, self.host.n_layers, details)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(p.numel() * p.element_size() for p in self.model.parameters())

    def read_picture(self, picture: Picture | None) -> tuple[Image.Image, Float[Tensor, "1 3 n n"]]:
        """Decode an image, and squash it into the square that the tower reads.

        Raises:
            SampleError: There is none, or its file cannot be read.
        """
        if picture is None:
            raise SampleError(f"model {self.name!r} answers questions about a picture: give one")
        image = open_picture(picture)
        return image, normalised(squashed(image, self.resolution), CLIP_MEAN, CLIP_STD)

    def encode_picture(self, uid: str, picture: Picture | None, texts: Texts) -> Encoded:
        """The encoded sample of an image and what is read beside it.

        Raises:
            SampleError: There is no image, its file cannot be read, the target is empty, or an id is no token.
        """
        if not texts.target_ids:
            raise SampleError(f"sample {uid}: the target is empty; give at least one token to explain")
        ids = [*texts.target_ids, *(i for given in texts.inputs.values() for i in given.flatten().tolist())]
        if bad := [i for i in ids if not 0 <= i < self.vocab_size]:
            raise SampleError(f"sample {uid}: token id {bad[0]} is outside the vocabulary of {self.vocab_size}")
        image, pixels = self.read_picture(picture)
        return self._encoded(uid, pixels, texts, (rgb_array(image),))

    def _encode(self, uid: str, prompt: str, target: str, picture: Picture | None) -> Encoded:
        return self.encode_picture(uid, picture, self.texts(uid, prompt, target))

    def _encoded(self, uid: str, pixels: Tensor, texts: Texts, pictures: tuple[np.ndarray, ...]) -> Encoded:
        height, width = pictures[0].shape[:2] if pictures else pixels.shape[2:]
        units = PatchUnits(self.grid, (0.0, 0.0, float(width), float(height)), (width, height))
        length, n_targets = 1 + len(units), len(texts.target_ids)
        return Encoded(
            uid=uid,
            inputs={"pixel_values": pixels, **texts.inputs},
            target_ids=torch.tensor(texts.target_ids),
            target_rows=texts.first_row + torch.arange(n_targets),
            unit_of_position=torch.arange(-1, len(units)),  # the class token is never suppressed
            units=units,
            pictures=pictures,
            pixels=pixels,
            picture_start=1,
            answer_ids=None if texts.answer_ids is None else torch.tensor(texts.answer_ids),
            answer_rows=None if texts.answer_ids is None else texts.first_row + torch.arange(len(texts.answer_ids)),
            reading_rows=torch.zeros(n_targets, dtype=torch.long),
            restarts=(0,) * length,
            remarks=texts.remarks,
        )

    def _no_pixels(self) -> Float[Tensor, "1 3 n n"]:
        """An image of the mean colour."""
        side = self.resolution
        return torch.zeros(1, 3, side, side, device=self.device, dtype=self.model.dtype)
