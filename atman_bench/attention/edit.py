"""What an edit of attention scores is (paper Eq. 4, 6 and 7), and exact attention under it.

Every score s_ij is the softmax input without the causal mask: after the 1/sqrt(d) scaling, softcap and position bias.
Editing key position j with factor c_j = 1 - f_j changes column j of every head. The four forms are different methods,
so a number is never shown without its form.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, field, replace
from enum import StrEnum

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from atman_bench.core.device_traits import sent, traits_of
from atman_bench.core.errors import ConfigError


class Form(StrEnum):
    """How a factor c changes column j of the scores."""

    SHIFTED = "shifted"
    """m_i + c (s_ij - m_i), m_i the row's minimum: what the authors ran on decoders (without the constant m_i, which
    softmax ignores). Never raises a suppressed score."""
    LITERAL = "literal"
    """c s_ij: Eq. 4 as printed, and what they ran on BLIP. Raises a token's attention where its score is negative."""
    LOG = "log"
    """s_ij + log c: Eq. 7. c = 0 masks."""
    MASK = "mask"
    """Columns whose factor is not 1 are removed, however large the factor."""


NO_DERIVATIVE = (
    "form 'mask' removes a column whatever its factor is, so that the loss has no derivative by it: choose shifted, "
    "literal or log"
)


class RowMin(StrEnum):
    """Which columns the ``shifted`` form takes a row's minimum over."""

    VISIBLE = "visible"
    """The columns that the row may attend to, so that an edited model stays causal."""
    ALL = "all"
    """All S columns, future ones included, as the released code has it."""


@dataclass(frozen=True)
class AttentionEdit:
    """P perturbations of one sequence of S key positions.

    Attributes:
        factors: c = 1 - f of each key position; 1 leaves a position alone, more than 1 amplifies it.
        form: See ``Form``.
        row_min: See ``RowMin``; only the ``shifted`` form has one.
        layers: The layers that are edited (0 = first), or None for all.
        edited: From the first to the last column that any of the perturbations edits; the others need no computing.
    """

    factors: Float[Tensor, "P S"]
    form: Form = Form.SHIFTED
    row_min: RowMin = RowMin.VISIBLE
    layers: frozenset[int] | None = None
    edited: slice = field(init=False)

    def __post_init__(self) -> None:
        if self.form is Form.LOG and bool((self.factors < 0).any()):
            raise ConfigError(
                f"form 'log' adds log(1 - f) and needs f <= 1; received f = {1 - self.factors.min().item():.3g}; "
                "lower f or use another form"
            )
        columns = (self.factors != 1).any(0).nonzero().flatten().tolist()
        object.__setattr__(self, "edited", slice(columns[0], columns[-1] + 1) if columns else slice(0, 0))

    def to(self, device: torch.device) -> "AttentionEdit":
        """The same on another device; what was read off the factors is not read again, so that nobody waits."""
        moved = copy(self)
        object.__setattr__(moved, "factors", sent(self.factors, device))
        return moved

    def applies_to(self, layer: int) -> bool:
        """Whether a layer is edited."""
        return self.layers is None or layer in self.layers

    def select(self, perturbations: list[int]) -> "AttentionEdit":
        """The same edit for some of the perturbations."""
        return replace(self, factors=self.factors[perturbations])

    def first_changed(self) -> list[int]:
        """The first position that each perturbation edits, S where none is."""
        changed = self.factors != 1
        if self.layers is not None and not self.layers:
            changed = torch.zeros_like(changed)
        return first_true(changed).tolist()


MASK_ROWS = 256
"""Rows of a mask that are read at a time."""


@dataclass(frozen=True, eq=False)
class Visibility:
    """Which key positions each query row may attend to; the same for all heads and samples (there is no padding).

    Attributes:
        visible: True where row i may attend to column j: the model's own mask (a copy would live through a pass).
        ends: For each row one past its last visible column, as host integers: columns from there on need no computing.
        clear: For each row its first hidden column: columns before it need no masking.
    """

    visible: Bool[Tensor, "Lq Lk"]
    ends: tuple[int, ...]
    clear: tuple[int, ...]

    @classmethod
    def of_mask(cls, mask: Bool[Tensor, "B 1 Lq Lk"]) -> "Visibility":
        """Read a transformers mask (True = visible); the host waits for its device."""
        ends, clear = extents(mask)
        return cls(mask[0, 0], tuple(ends.tolist()), tuple(clear.tolist()))

    @classmethod
    def everything(cls, rows: int, columns: int, device: torch.device) -> "Visibility":
        """Nothing is hidden."""
        all_columns = (columns,) * rows
        return cls(torch.ones(rows, columns, dtype=torch.bool, device=device), all_columns, all_columns)

    def to(self, device: torch.device) -> "Visibility":
        """The same on another device."""
        return replace(self, visible=self.visible.to(device))

    def at(self, rows: list[int]) -> "Visibility":
        """The same for some of the rows."""
        visible = self.visible[sent(torch.tensor(rows), self.visible.device)]
        return Visibility(visible, tuple(self.ends[i] for i in rows), tuple(self.clear[i] for i in rows))

    def block(self, rows: slice, end: int) -> "HiddenBlock":
        """What some rows may not see of the columns before ``end``."""
        first = min(*self.clear[rows], end)
        return HiddenBlock(~self.visible[rows, first:end], first)


def extents(mask: Bool[Tensor, "B 1 Lq Lk"]) -> tuple[Int[Tensor, " Lq"], Int[Tensor, " Lq"]]:
    """``Visibility.ends`` and ``Visibility.clear`` of a transformers mask, on its device."""
    # Only some rows are copied at a time: at 32k positions all of them take 1 GB.
    parts = mask[0, 0].split(MASK_ROWS)
    ends = [rows.shape[-1] - first_true(rows.flip(-1)) for rows in parts]
    return torch.cat(ends), torch.cat([first_true(~rows) for rows in parts])


def first_true(flags: Bool[Tensor, "R Lk"]) -> Int[Tensor, " R"]:
    """The first column that is true in each row, Lk where none is."""
    return torch.where(flags.any(-1), flags.view(torch.uint8).argmax(-1), flags.shape[-1])


@dataclass(frozen=True)
class HiddenBlock:
    """The hidden part of a block of scores.

    Attributes:
        hidden: True where a row may not attend to a column, for the columns from ``first`` on.
        first: The first column that any row may not attend to: only columns from there on are masked.
    """

    hidden: Bool[Tensor, "Lq N"]
    first: int

    def raise_hidden(self, scores: Float[Tensor, "B H Lq Lk"]) -> None:
        """Overwrite the hidden scores by the largest number, so that they are no row's minimum."""
        part = scores[..., self.first :]
        part.clamp_(min=self._bound(scores.dtype, -torch.inf, torch.finfo(scores.dtype).max))

    def lower_hidden(self, scores: Float[Tensor, "B H Lq Lk"]) -> None:
        """Overwrite the hidden scores by the least number, so that they take no part in a softmax."""
        part, least = scores[..., self.first :], torch.finfo(scores.dtype).min
        if scores.requires_grad:
            part.masked_fill_(self.hidden, least)  # clamp_ keeps a copy for the backward pass
        else:
            part.clamp_(max=self._bound(scores.dtype, torch.inf, least))  # vectorised on CPUs: a third of the time

    def any_visible(self, columns: Bool[Tensor, "B 1 1 Lk"]) -> Bool[Tensor, "B 1 Lq 1"]:
        """Whether each row may attend to any of some columns."""
        clear, mixed = columns.split([self.first, columns.shape[-1] - self.first], dim=-1)
        return clear.any(-1, keepdim=True) | (mixed & ~self.hidden).any(-1, keepdim=True)

    def _bound(self, dtype: torch.dtype, visible: float, hidden: float) -> Float[Tensor, "Lq N"]:
        return torch.full_like(self.hidden, visible, dtype=dtype).masked_fill_(self.hidden, hidden)


@dataclass(frozen=True)
class AttentionInputs:
    """One attention call: B samples, H query heads, K key-value heads, Lq rows, Lk columns, head sizes D and Dv.

    Attributes:
        query: After rotary embedding, before scaling.
        key: All columns, cached ones included.
        value: Likewise.
        visibility: See ``Visibility``.
        scaling: Multiplies q.k.
        softcap: Scores become softcap * tanh(score / softcap) (Gemma 2).
        bias: Added to the scaled scores (ALiBi).
        sinks: One extra logit per head that takes part in the softmax only (GPT-OSS); never edited, never in a minimum.
    """

    query: Float[Tensor, "B H Lq D"]
    key: Float[Tensor, "B K Lk D"]
    value: Float[Tensor, "B K Lk Dv"]
    visibility: Visibility
    scaling: float
    softcap: float | None = None
    bias: Float[Tensor, "B H 1 Lk"] | None = None
    sinks: Float[Tensor, " H"] | None = None

    def at(self, rows: list[int]) -> "AttentionInputs":
        """The same call for some of its query rows."""
        query = self.query[:, :, sent(torch.tensor(rows), self.query.device)]
        return replace(self, query=query, visibility=self.visibility.at(rows))


def edit_scores(
    scores: Float[Tensor, "P H Lq Lk"], block: HiddenBlock, edit: AttentionEdit
) -> Float[Tensor, "P H Lq Lk"]:
    """Apply an edit to scores, which are overwritten; hidden columns come back with whatever the form gives them."""
    edited = scores[..., edit.edited]
    if edited.shape[-1] == 0:
        return scores
    factors = edit.factors[:, None, None, : scores.shape[-1]].to(scores.device, scores.dtype)
    match edit.form:
        case Form.LITERAL:
            edited.mul_(factors[..., edit.edited])
        case Form.SHIFTED:
            if edit.row_min is RowMin.VISIBLE:
                block.raise_hidden(scores)
            # m + c (s - m): the constant m, which softmax alone would ignore, keeps the scale that sinks are on.
            edited.lerp_(scores.amin(-1, keepdim=True), 1 - factors[..., edit.edited])
        case Form.LOG:
            scores.add_(_removal_bias(factors.log(), factors > 0, block))
        case Form.MASK:
            scores.add_(_removal_bias(torch.zeros_like(factors), factors == 1, block))
    return scores


def _removal_bias(
    bias: Float[Tensor, "P 1 1 Lk"], kept: Bool[Tensor, "P 1 1 Lk"], block: HiddenBlock
) -> Float[Tensor, "P 1 Lq Lk"]:
    """What to add to scores so that only kept columns remain.

    The minimum is finite, and a row that would keep no visible column is left unedited: with nothing but minima its
    softmax would spread over hidden columns too and the row would look into the future.
    """
    removed = torch.where(kept, bias, torch.finfo(bias.dtype).min / 2)
    return removed.masked_fill(~block.any_visible(kept), 0.0)


def edit_gradient(
    scores: Float[Tensor, "P H Lq Lk"], gradient: Float[Tensor, "P H Lq Lk"], block: HiddenBlock, edit: AttentionEdit
) -> tuple[Float[Tensor, "P H Lq Lk"], Float[Tensor, "P Lk"]]:
    """The derivative of ``edit_scores``, by hand: it needs no graph, and holds for factors of 1 too.

    Args:
        scores: Before the edit, hidden columns included; they are left alone.
        gradient: Of a loss by the edited scores, 0 in hidden columns; it may be overwritten.
        block: What is hidden.
        edit: Of any form that has a derivative by its factors.

    Returns:
        Gradients of the loss by the scores, and by the factors (summed over heads and rows).

    Raises:
        ConfigError: The form has none.
    """
    factors = edit.factors[:, None, None, : scores.shape[-1]].to(scores.device, scores.dtype)
    match edit.form:
        case Form.LITERAL:
            by_factor = (gradient * scores).sum((1, 2))
            return gradient.mul_(factors), by_factor
        case Form.SHIFTED:
            seen = scores
            if edit.row_min is RowMin.VISIBLE:
                seen = scores.clone()
                block.raise_hidden(seen)
            minimum, where = seen.min(-1, keepdim=True)
            by_factor = (gradient * (scores - minimum)).sum((1, 2))
            by_minimum = (gradient * (1 - factors)).sum(-1, keepdim=True)
            return gradient.mul_(factors).scatter_add_(-1, where, by_minimum), by_factor
        case Form.LOG:
            by_factor = gradient.sum((1, 2)) / factors[:, 0, 0]
            return gradient, by_factor
        case Form.MASK:
            raise ConfigError(NO_DERIVATIVE)


def scaled_products(inputs: AttentionInputs, rows: slice, end: int | None) -> Float[Tensor, "B H Lq Lk"]:
    """Scaled products of some queries and the keys before ``end``, in float32 at least."""
    batch, heads, _, width = inputs.query.shape
    # Query heads that share a key head are stacked as more rows, so that keys are never repeated.
    query = inputs.query[:, :, rows].reshape(batch * inputs.key.shape[1], -1, width)
    key = inputs.key[:, :, :end]
    # The product scales in passing; with beta = 0 what it would add to is not read.
    products = torch.baddbmm(
        query.new_empty(1, 1, 1), query, key.flatten(0, 1).transpose(-1, -2), beta=0, alpha=inputs.scaling
    ).view(batch, heads, -1, key.shape[2])
    return products if products.dtype is torch.float64 else products.float()


def scores_of(inputs: AttentionInputs, products: Float[Tensor, "B H Lq Lk"]) -> Float[Tensor, "B H Lq Lk"]:
    """What an edit edits, of scaled products: softcapped, and with the position bias."""
    scores = products
    if inputs.softcap is not None:
        scores = inputs.softcap * torch.tanh(scores / inputs.softcap)
    if inputs.bias is not None:
        scores = scores + inputs.bias[..., : scores.shape[-1]]
    return scores


def softmax_visible(
    inputs: AttentionInputs, scores: Float[Tensor, "B H Lq Lk"], block: HiddenBlock
) -> Float[Tensor, "B H Lq Lk"]:
    """Weights of the visible columns; the scores are overwritten."""
    block.lower_hidden(scores)
    if inputs.sinks is None:
        return scores.softmax(-1)
    batch, heads, length, _ = scores.shape
    sinks = inputs.sinks.to(scores.dtype).view(1, heads, 1, 1).expand(batch, heads, length, 1)
    return torch.cat([scores, sinks], dim=-1).softmax(-1)[..., :-1]


def attention_weights(
    inputs: AttentionInputs, edit: AttentionEdit | None, rows: slice = slice(None), end: int | None = None
) -> Float[Tensor, "B H Lq Lk"]:
    """Post-softmax weights of some rows over the columns before ``end``, computed in float32 at least."""
    scores = scores_of(inputs, scaled_products(inputs, rows, end))
    block = inputs.visibility.block(rows, scores.shape[-1])
    if edit is not None:
        scores = edit_scores(scores, block, edit)
    return softmax_visible(inputs, scores, block)


Walk = Callable[[Sequence[slice]], Iterable[slice]]

WALK: ContextVar[Walk] = ContextVar("WALK", default=lambda blocks: blocks)
"""Which blocks of rows ``attend`` visits: all. A simulation visits some, and infers what the others would cost."""


def blocks_of(inputs: AttentionInputs, edit: AttentionEdit | None) -> Iterator[tuple[slice, int]]:
    """Blocks of query rows, each with one past the last column that it needs."""
    batch, heads, length, _ = inputs.query.shape
    columns = inputs.key.shape[2]
    size = max(16, traits_of(inputs.query.device).block_elements // (batch * heads * columns))
    sees_all = edit is not None and edit.form is Form.SHIFTED and edit.row_min is RowMin.ALL
    for rows in WALK.get()([slice(first, min(first + size, length)) for first in range(0, length, size)]):
        yield rows, columns if sees_all else max(inputs.visibility.ends[rows])


def attend(inputs: AttentionInputs, edit: AttentionEdit | None) -> Float[Tensor, "B H Lq Dv"]:
    """Exact attention in blocks of rows: never the whole Lq x Lk, and no column that a whole block cannot see.

    A fused kernel with one more column for the row minimum gives the same numbers, but needs a product of its own for
    that minimum and computes hidden columns; the trial that decided against it is in ``docs/architecture.md``.
    """
    batch, heads, length, _ = inputs.query.shape
    # Laid out as the output projection reads it.
    output = inputs.value.new_empty(batch, length, heads, inputs.value.shape[-1]).transpose(1, 2)
    for rows, end in blocks_of(inputs, edit):
        weights = attention_weights(inputs, edit, rows, end).to(inputs.value.dtype)
        output[:, :, rows] = mix(weights, inputs.value[:, :, :end])
    return output


def mix(weights: Float[Tensor, "B H Lq Lk"], value: Float[Tensor, "B K Lk Dv"]) -> Float[Tensor, "B H Lq Dv"]:
    """Average values by weights; query heads that share a value head are stacked as more rows."""
    batch, heads, length, columns = weights.shape
    mixed = torch.bmm(weights.reshape(batch * value.shape[1], -1, columns), value.flatten(0, 1))
    return mixed.view(batch, heads, length, value.shape[-1])
