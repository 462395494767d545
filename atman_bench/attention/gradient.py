"""Attention under an edit whose factors have a gradient, in memory that grows with S and not with its square.

Autograd alone would keep the scores and the weights of every head and layer, (S, S) each. Here an attention call is one
node of the graph that keeps queries, keys and values, and its backward pass computes the scores again, block of rows by
block of rows, as ``attend`` did.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from atman_bench.attention.edit import (
    AttentionEdit,
    AttentionInputs,
    attend,
    blocks_of,
    edit_gradient,
    edit_scores,
    scaled_products,
    scores_of,
    softmax_visible,
)
from atman_bench.attention.kv_cache import PrefixStore


@dataclass(frozen=True)
class LayerStatistics:
    """What the backward pass of a layer sees beside the gradient by its factors, of B copies and S key positions.

    A is the attention of a row, dA the gradient of the loss by it, u = sum A dA over the row's columns.

    Attributes:
        centred: -A (dA - u), summed over heads and rows: how fast the loss rises as the column is removed (what the
            ``log`` form's gradient is at factors of 1).
        grad_x_attention: Positive part of the mean over heads of -A dA, summed over rows.
    """

    centred: Float[Tensor, "B S"]
    grad_x_attention: Float[Tensor, "B S"]


@dataclass(frozen=True)
class DifferentiableEditor:
    """A processor like ``Editor`` with a leaf of the graph for each edited layer: its factors.

    Attributes:
        edit: The edit of a pass of B copies, of a form that has a derivative.
        n_layers: Layers of the model.
        store: Where a pass at factors of 1 leaves the keys and values of its first copy, which are the plain pass's.
        leaves: The factors (B, S) of each edited layer, ascending.
        statistics: Of each edited layer, once the backward pass has gone through it.
    """

    edit: AttentionEdit
    n_layers: int
    store: PrefixStore | None = None
    leaves: dict[int, Float[Tensor, "B S"]] = field(init=False)
    statistics: dict[int, LayerStatistics] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        edited = [layer for layer in range(self.n_layers) if self.edit.applies_to(layer)]
        leaves = {layer: self.edit.factors.clone().requires_grad_() for layer in edited}
        object.__setattr__(self, "leaves", leaves)

    def __call__(self, layer: int, inputs: AttentionInputs) -> tuple[Tensor, None]:
        """Attend with the layer's own factors."""
        if self.store is not None:
            self.store.update(inputs.key[:1].detach(), inputs.value[:1].detach(), layer)
        factors = self.leaves.get(layer)
        arguments = inputs.query, inputs.key, inputs.value, factors
        return _Attention.apply(*arguments, _without_tensors(inputs), self, layer), None


def _without_tensors(inputs: AttentionInputs) -> "partial[AttentionInputs]":
    """The rest of a call: what a graph keeps must be known to autograd, or checkpoints would not drop it."""
    return partial(
        AttentionInputs,
        visibility=inputs.visibility,
        scaling=inputs.scaling,
        softcap=inputs.softcap,
        bias=inputs.bias,
        sinks=inputs.sinks,
    )


class _Attention(torch.autograd.Function):
    """``attend``, with a backward pass that keeps no scores."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        factors: Tensor | None,
        call: "partial[AttentionInputs]",
        editor: DifferentiableEditor,
        layer: int,
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.call, ctx.editor, ctx.layer = call, editor, layer  # type: ignore[attr-defined]  # a context takes any
        return attend(call(query, key, value), None if factors is None else editor.edit)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        edited = ctx.layer in ctx.editor.leaves
        inputs = ctx.call(*ctx.saved_tensors)
        found = _gradients(inputs, gradient, ctx.editor.edit if edited else None)
        if edited:
            ctx.editor.statistics[ctx.layer] = found.statistics
        return found.query, found.key, found.value, found.factors if edited else None, None, None, None


@dataclass(frozen=True)
class _Gradients:
    """What a loss's gradient is by all that one attention call reads, and the layer's statistics.

    Sums over blocks of rows are held in float32 at least.
    """

    query: Float[Tensor, "B H Lq D"]
    key: Float[Tensor, "B K Lk D"]
    value: Float[Tensor, "B K Lk Dv"]
    factors: Float[Tensor, "B Lk"]
    statistics: LayerStatistics

    @classmethod
    def nothing(cls, inputs: AttentionInputs) -> "_Gradients":
        """All zeros; of the queries, whose rows no two blocks share, not even these."""
        batch, _, columns, _ = inputs.key.shape
        dtype = torch.promote_types(inputs.query.dtype, torch.float32)
        per_column = [inputs.key.new_zeros(batch, columns, dtype=dtype) for _ in range(3)]
        # Contiguous, whatever the inputs are: heads are flattened, and must not be copied by that.
        key, value = (tensor.new_zeros(tensor.shape, dtype=dtype) for tensor in (inputs.key, inputs.value))
        return cls(torch.empty_like(inputs.query), key, value, per_column[0], LayerStatistics(*per_column[1:]))


def _gradients(inputs: AttentionInputs, gradient: Float[Tensor, "B H Lq Dv"], edit: AttentionEdit | None) -> _Gradients:
    """Gradients by what an attention call read, from the gradient by what it returned."""
    found = _Gradients.nothing(inputs)
    for rows, end in blocks_of(inputs, edit):
        _add_block(found, inputs, gradient, edit, rows, end)
    return found


def _add_block(
    found: _Gradients,
    inputs: AttentionInputs,
    gradient: Float[Tensor, "B H Lq Dv"],
    edit: AttentionEdit | None,
    rows: slice,
    end: int,
) -> None:
    """Add what a block of rows contributes, from its scores on."""
    batch, groups = inputs.key.shape[:2]

    def stacked(tensor: Float[Tensor, "B H R N"], like: Tensor) -> Float[Tensor, "BK GR N"]:
        """Heads that share a key head as more rows of it, as ``attend`` has them."""
        return tensor.reshape(batch * groups, -1, tensor.shape[-1]).to(like.dtype)

    products = scaled_products(inputs, rows, end)
    scores = scores_of(inputs, products)
    block = inputs.visibility.block(rows, end)
    edited = scores.clone()
    weights = softmax_visible(inputs, edited if edit is None else edit_scores(edited, block, edit), block)

    # Through the mean of the values.
    query, key, value = (tensor.flatten(0, 1) for tensor in (inputs.query, inputs.key, inputs.value))
    of_rows = stacked(gradient[:, :, rows], value)
    found.value.flatten(0, 1)[:, :end] += stacked(weights, value).mT @ of_rows
    by_weights = (of_rows @ value[:, :end].mT).view_as(weights).to(weights.dtype)

    # Through the softmax. A sink has a weight and no value, so that it is in no sum here.
    product = by_weights.mul_(weights)
    found.statistics.grad_x_attention[:, :end] += product.mean(1).neg_().clamp_(min=0).sum(1)
    by_scores = product.sub_(weights.mul_(product.sum(-1, keepdim=True)))
    found.statistics.centred[:, :end] -= by_scores.sum((1, 2))

    # Through the edit, the softcap and the product of queries and keys.
    if edit is not None:
        by_scores, by_factors = edit_gradient(scores, by_scores, block, edit)
        found.factors[:, :end] += by_factors
    if inputs.softcap is not None:
        by_scores.mul_(1 - torch.tanh(products / inputs.softcap).square_())
    by_products = stacked(by_scores.mul_(inputs.scaling), query)
    found.query[:, :, rows] = (by_products @ key[:, :end]).view_as(found.query[:, :, rows])
    found.key.flatten(0, 1)[:, :end] += by_products.mT @ stacked(inputs.query[:, :, rows], query)
