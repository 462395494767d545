"""Attention under an edit in one fused kernel, PyTorch's FlexAttention, which holds no scores in memory.

Every form changes a score by itself, its row and its column: it is a ``score_mod`` that reads the column's factor and,
for the ``shifted`` form, the row's minimum, which a pass in blocks finds before. Blocks that are hidden are left out.
What is not known to work, or does not compile, is left to ``attend``.
"""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.fx.experimental import _config as shapes
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, create_block_mask, flex_attention

from atman_bench.attention.edit import (
    MASK_ROWS,
    AttentionEdit,
    AttentionInputs,
    Form,
    RowMin,
    Visibility,
    blocks_of,
    scaled_products,
    scores_of,
)
from atman_bench.core.device_traits import traits_of
from atman_bench.core.errors import one_line
from atman_bench.core.memory import is_out_of_memory

logger = logging.getLogger(__name__)

LEAST_ROWS = 129
"""Fewer query rows would take other kernels, which are made for decoding and have not been tried. They are one block of
128, besides, and kernels are compiled for several blocks, whatever their number."""

HEAD_SIZES = range(16, 257)
"""Sizes of heads that the kernels are made for: products on tensor cores begin at 16."""

RECOMPILATIONS = 64
"""Kernels that may be compiled: for each form, for one copy and several, for whole passes and restarts."""

Kernel = Callable[..., tuple[Tensor, Tensor | None]]
"""``mixed_values``, compiled or not."""


def kernel_that_pays(inputs: AttentionInputs) -> Kernel | None:
    """The compiled kernel, where the device has one and the call is large enough and of a known kind."""
    least = traits_of(inputs.query.device).fused_from
    batch, heads, length, width = inputs.query.shape
    if least is None or batch * heads * length * inputs.key.shape[2] < least or length < LEAST_ROWS:
        return None
    known = inputs.value.dtype in (torch.float16, torch.bfloat16, torch.float32)
    fits = width in HEAD_SIZES and inputs.value.shape[-1] in HEAD_SIZES
    return _compiled() if known and fits and not _refused else None


CHOICE: ContextVar[Callable[[AttentionInputs], Kernel | None]] = ContextVar("CHOICE", default=kernel_that_pays)
"""Which kernel an attention call takes, None for ``attend``. Tests and benchmarks choose by themselves."""

_refused: list[str] = []
"""Why the kernel is no longer tried in this process."""


def attend_fused(inputs: AttentionInputs, edit: AttentionEdit | None) -> Float[Tensor, "B H Lq Dv"] | None:
    """As ``attend``, by a fused kernel; None where there is none for this call.

    Scores are sums of products of the values' type in float32, and everything that is done to them is float32 too.
    """
    differentiated = torch.is_grad_enabled() and any(t.requires_grad for t in (inputs.query, inputs.key, inputs.value))
    kernel = None if differentiated else CHOICE.get()(inputs)
    if kernel is None:
        return None
    try:
        return _run(kernel, inputs, edit)
    except Exception as error:  # a compiler's: it may fail in ways of its own, and blocks need none
        if is_out_of_memory(error):
            raise
        _refused.append(one_line(error))
        logger.warning("no fused attention here, blocks of rows instead: %s: %s", type(error).__name__, _refused[-1])
        return None


def _run(kernel: Kernel, inputs: AttentionInputs, edit: AttentionEdit | None) -> Float[Tensor, "B H Lq Dv"]:
    """Prepare what the kernel reads beside queries, keys and values, and call it."""
    batch, columns = inputs.key.shape[0], inputs.key.shape[2]
    exact = torch.promote_types(inputs.value.dtype, torch.float32)
    factors = minima = keeps_some = bias = None
    if edit is not None:
        factors = edit.factors[:, :columns].to(inputs.query.device, exact).expand(batch, -1).contiguous()
        if edit.form is Form.SHIFTED:
            minima = row_minima(inputs, edit)
        elif edit.form is not Form.LITERAL:
            kept = factors > 0 if edit.form is Form.LOG else factors == 1
            keeps_some = any_visible(inputs.visibility, kept)
    if inputs.bias is not None:
        bias = inputs.bias[..., 0, :columns].to(exact).expand(batch, -1, -1).contiguous()
    # GPT-J hands over half-precision queries and keys as float32: taking that back loses nothing.
    query, key = (tensor.to(inputs.value.dtype) for tensor in (inputs.query, inputs.key))
    mixed, sums = kernel(
        query,
        key,
        inputs.value,
        block_mask_of(inputs.visibility),
        inputs.scaling,
        inputs.softcap,
        bias,
        None if edit is None else edit.form,
        factors,
        minima,
        keeps_some,
        inputs.sinks is not None,
    )
    if inputs.sinks is None or sums is None:
        return mixed
    # A sink takes its share of every row's weights: exp(sink) beside the sum of all other exponentials.
    share = torch.sigmoid(sums.to(exact) - inputs.sinks.to(exact)[None, :, None])
    return (mixed * share[..., None]).to(mixed.dtype)


def mixed_values(
    query: Float[Tensor, "B H Lq D"],
    key: Float[Tensor, "B K Lk D"],
    value: Float[Tensor, "B K Lk Dv"],
    block_mask: BlockMask,
    scaling: float,
    softcap: float | None,
    bias: Float[Tensor, "B H Lk"] | None,
    form: Form | None,
    factors: Float[Tensor, "B Lk"] | None,
    minima: Float[Tensor, "B H Lq"] | None,
    keeps_some: Bool[Tensor, "B Lq"] | None,
    with_sums: bool,
) -> tuple[Float[Tensor, "B H Lq Dv"], Float[Tensor, "B H Lq"] | None]:
    """Attention of edited scores, and if wanted the logarithm of each row's sum of exponentials."""

    def edited(score: Tensor, sample: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
        if softcap is not None:
            score = softcap * torch.tanh(score / softcap)
        if bias is not None:
            score = score + bias[sample, head, column]
        if factors is None:
            return score
        factor = factors[sample, column]
        if form is Form.LITERAL:
            return score * factor
        if minima is not None:
            minimum = minima[sample, head, row]
            return minimum + factor * (score - minimum)
        assert keeps_some is not None
        kept, left = (factor > 0, score + torch.log(factor)) if form is Form.LOG else (factor == 1, score)
        # A row that would keep no visible column is left unedited, as in blocks.
        return torch.where(keeps_some[sample, row], torch.where(kept, left, -torch.inf), score)

    found: Any = flex_attention(
        query,
        key,
        value,
        score_mod=edited,
        block_mask=block_mask,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
        return_aux=AuxRequest(lse=True) if with_sums else None,
    )
    return (found[0], found[1].lse) if with_sums else (found, None)


@cache
def _compiled() -> Kernel:
    """``mixed_values``, compiled when it is called first.

    Restarts are of every length, so lengths are symbols. The whole function or nothing: FlexAttention that is not
    compiled would hold all scores.
    """
    compiled = torch.compile(mixed_values, dynamic=True, fullgraph=True)

    def call(*arguments: Any) -> tuple[Tensor, Tensor | None]:
        # Numbers that are equal by chance, such as copies and blocks, would be taken for one symbol.
        distinct = shapes.patch(use_duck_shape=False)  # type: ignore[attr-defined]  # torch installs it at run time
        with torch._dynamo.config.patch(recompile_limit=RECOMPILATIONS), distinct:
            return compiled(*arguments)

    return call


_BLOCK_MASKS: WeakKeyDictionary[Visibility, BlockMask] = WeakKeyDictionary()


def block_mask_of(visibility: Visibility) -> BlockMask:
    """What is visible, as the kernel takes it: which blocks of rows and columns are hidden or need a look.

    All layers of a pass share one or two of them.
    """
    if (known := _BLOCK_MASKS.get(visibility)) is None:
        visible = visibility.visible

        def sees(sample: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
            return visible[row, column]

        rows, columns = visible.shape
        known = _BLOCK_MASKS[visibility] = create_block_mask(sees, None, None, rows, columns, device=visible.device)
    return known


def row_minima(inputs: AttentionInputs, edit: AttentionEdit) -> Float[Tensor, "B H Lq"]:
    """What the ``shifted`` form shifts by, in float32: a product of queries and keys of its own, block by block."""
    exact = torch.promote_types(inputs.query.dtype, torch.float32)
    minima = inputs.query.new_empty(inputs.query.shape[:3], dtype=exact)
    precise = replace(inputs, query=inputs.query.to(exact), key=inputs.key.to(exact))
    for rows, end in blocks_of(precise, edit):
        scores = scores_of(precise, scaled_products(precise, rows, end))
        if edit.row_min is RowMin.VISIBLE:
            precise.visibility.block(rows, end).raise_hidden(scores)
        minima[:, :, rows] = scores.amin(-1)
    return minima


def any_visible(visibility: Visibility, columns: Bool[Tensor, "B Lk"]) -> Bool[Tensor, "B Lq"]:
    """Whether each row may attend to any of some columns."""
    # Some rows at a time: as numbers they take four times the mask.
    counts = [rows.float() @ columns.float().T for rows in visibility.visible.split(MASK_ROWS)]
    return torch.cat(counts).T > 0
