"""Attention calls of every kind: random queries, keys and values, and what architectures add to them."""

from dataclasses import replace

import torch
from torch import Tensor

from atman_bench.attention.edit import AttentionEdit, AttentionInputs, Form, RowMin, Visibility

BATCH, HEADS, KEY_HEADS, ROWS, COLUMNS, SIZE = 3, 4, 2, 40, 46, 6
WINDOW = 12
FORMS = [(form, RowMin.VISIBLE) for form in Form] + [(Form.SHIFTED, RowMin.ALL)]


def causal(window: int = COLUMNS) -> Visibility:
    """Rows are the last ones of the sequence, as after a restart; each sees its last ``window`` columns."""
    rows = torch.arange(COLUMNS - ROWS, COLUMNS)[:, None]
    columns = torch.arange(COLUMNS)[None]
    return Visibility.of_mask(((columns <= rows) & (columns > rows - window))[None, None])


def random_inputs(**changes: object) -> AttentionInputs:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    inputs = AttentionInputs(
        query=normal(BATCH, HEADS, ROWS, SIZE),
        key=normal(BATCH, KEY_HEADS, COLUMNS, SIZE),
        value=normal(BATCH, KEY_HEADS, COLUMNS, 5),
        visibility=causal(),
        scaling=SIZE**-0.5,
        bias=normal(BATCH, HEADS, 1, COLUMNS),
        sinks=normal(HEADS),
    )
    return replace(inputs, **changes)


ARCHITECTURES = {
    "plain": random_inputs(bias=None, sinks=None),
    "softcap": random_inputs(softcap=3.0, bias=None, sinks=None),
    "alibi": random_inputs(sinks=None),
    "sinks": random_inputs(bias=None),
    "sliding": random_inputs(visibility=causal(WINDOW), bias=None, sinks=None),
    "everything": random_inputs(visibility=causal(WINDOW), softcap=3.0),
}


def some_factors() -> Tensor:
    """Three perturbations: column 0 and a later one, an amplified one, and all columns that the first 20 rows see."""
    factors = torch.ones(BATCH, COLUMNS, dtype=torch.float64)
    factors[0, [0, 30]] = torch.tensor([0.1, 0.4], dtype=torch.float64)
    factors[1, 9] = 2.0
    factors[2, : COLUMNS - ROWS + 20] = 0.0
    return factors


def long_call(copies: int, length: int, columns: int) -> AttentionInputs:
    """The last rows of a sequence, more than a kernel's block of 128; grouped heads, float32."""
    generator = torch.Generator().manual_seed(length)
    query, key, value = (
        torch.randn(copies, heads, size, 16, generator=generator)
        for heads, size in ((4, length), (2, columns), (2, columns))
    )
    mask = torch.ones(columns, columns, dtype=torch.bool).tril()[None, None, -length:]
    return AttentionInputs(query, key, value, Visibility.of_mask(mask), 0.25)


def suppressed(copies: int, columns: int, form: Form, row_min: RowMin = RowMin.VISIBLE) -> AttentionEdit:
    factors = torch.ones(copies, columns)
    factors[:, 5], factors[0, columns // 2] = 0.1, 0.3
    return AttentionEdit(factors, form, row_min)
