"""Records that carry tensors: what an adapter hands to a method, and what a method gives back."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from atman_bench.core.records import Cost, Units


@dataclass(frozen=True)
class Encoded:
    """One sample as a model reads it.

    Attributes:
        uid: The sample's.
        inputs: What the adapter's ``run`` needs, with a leading axis of 1; for a text ``input_ids`` = prompt +
            target[:-1].
        target_ids: The T tokens whose loss is explained.
        target_rows: Which row's loss is read for each of them, ascending: row P - 1 + i predicts target token i.
        unit_of_position: The unit that each of the S positions belongs to, -1 for positions that are not explained.
        units: What the U units are.
        text: The prompt, or None for one that was given as token ids.
        offsets: Half-open character range of each prompt token in ``text``.
        pictures: Pixels (H, W, 3) of the images that the units lie on, as they were after the sample's crop.
        pixels: What the image encoder reads, (1, 3, h, w), for models whose encoder can be differentiated.
        picture_start: Position of the first token of the only image that the model reads.
        answer_ids: The tokens that the model would have to say to answer the sample; None means ``target_ids``.
        answer_rows: Which row predicts each of them; None means ``target_rows``.
        word_of_target: Which word each target token belongs to, where words have labels of their own (GQA).
        reading_rows: The row of the edited tower's attention that each target is read from (Chefer, rollout); None
            means ``target_rows``. In an encoder it is the class token's.
        restarts: For each position the first row that has to run again once it is edited; None means itself (a causal
            model). In a bidirectional block it is the block's start, in an encoder 0.
        foil_ids: The one token that the one target token is explained against, read in the same pass; None where there
            is no such pair.
        foil: The prompt followed by a foil of any length, where target and foil are not one token each: a sequence of
            its own, with the same units, whose ``foil`` is the target's. None where there is none.
        remarks: Where the tokens are not simply those of the prompt and then those of the target.
    """

    uid: str
    inputs: Mapping[str, Tensor]
    target_ids: Int[Tensor, " T"]
    target_rows: Int[Tensor, " T"]
    unit_of_position: Int[Tensor, " S"]
    units: Units
    text: str | None = None
    offsets: tuple[tuple[int, int], ...] | None = None
    pictures: tuple[np.ndarray, ...] = ()
    pixels: Float[Tensor, "1 3 h w"] | None = None
    picture_start: int | None = None
    answer_ids: Int[Tensor, " A"] | None = None
    answer_rows: Int[Tensor, " A"] | None = None
    word_of_target: tuple[int, ...] | None = None
    reading_rows: Int[Tensor, " T"] | None = None
    restarts: tuple[int, ...] | None = None
    foil_ids: Int[Tensor, " T"] | None = None
    foil: "Encoded | None" = None
    remarks: tuple[str, ...] = ()

    @property
    def has_foil(self) -> bool:
        """Whether the target is explained against something."""
        return self.foil_ids is not None or self.foil is not None

    @property
    def length(self) -> int:
        """S, the number of positions whose attention is edited."""
        return self.unit_of_position.shape[0]

    @property
    def rows_read(self) -> Int[Tensor, " T"]:
        """Rows of the attention that targets are read from."""
        return self.target_rows if self.reading_rows is None else self.reading_rows

    def positions_of_units(self) -> list[list[int]]:
        """Positions of each of the U units, ascending; host integers, so that planning needs no device."""
        groups: list[list[int]] = [[] for _ in range(len(self.units))]
        for position, unit in enumerate(self.unit_of_position.tolist()):
            if unit >= 0:
                groups[unit].append(position)
        return groups

    def pool(self, per_position: Float[Tensor, "T S"]) -> Float[Tensor, "T U"]:
        """Sum scores of positions into their units.

        A position after the row that a target token is read from cannot have influenced it: callers give 0 there.
        """
        units = self.unit_of_position.to(per_position.device)
        kept = units >= 0
        pooled = per_position.new_zeros(per_position.shape[0], len(self.units))
        return pooled.index_add_(1, units[kept], per_position[:, kept])


@dataclass(frozen=True)
class Attribution:
    """What a method computes: relevance of U units, higher = more important.

    Attributes:
        scores: Mean over the target tokens, as the paper averages (A.7).
        per_target: Relevance for each target token, or None where the method only explains their mean.
        units: What the scores belong to, where these are not the sample's units (single pixels); None means they are.
        remarks: What a reader of this one map has to know, a sentence each.
    """

    scores: Float[Tensor, " U"]
    per_target: Float[Tensor, "T U"] | None = None
    units: Units | None = None
    remarks: tuple[str, ...] = ()

    @classmethod
    def mean_of(cls, per_target: Float[Tensor, "T U"]) -> "Attribution":
        """Average over target tokens; both results are float32 on the CPU."""
        per_target = per_target.detach().to("cpu", torch.float32)
        return cls(per_target.mean(0), per_target)


@dataclass(frozen=True)
class Explanation:
    """An attribution with what it belongs to.

    Attributes:
        uid: The sample's.
        method: Name of the method.
        variant: What the options make of it; for AtMan it names the form first.
        scores: (U,) float32 on the CPU, higher = more important.
        per_target: (T, U), or None where the method explains the mean over target tokens only.
        units: What the U units are.
        target_texts: What each of the T target tokens reads.
        foil: What the foil reads, or None where the target is explained alone.
        target_logprobs: Log-probability of each target token under the plain model (natural logarithm).
        answered: Whether greedy decoding gives the target.
        cost: Time, forward tokens and memory of the explanation.
        remarks: What a reader of this one map has to know, a sentence each: how much of it is estimated.
    """

    uid: str
    method: str
    variant: str
    scores: Float[Tensor, " U"]
    per_target: Float[Tensor, "T U"] | None
    units: Units
    target_texts: tuple[str, ...]
    target_logprobs: tuple[float, ...]
    answered: bool
    cost: Cost
    remarks: tuple[str, ...] = ()
    foil: str | None = None
