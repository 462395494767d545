"""Edited attention against a loop over heads and rows that is written from the paper's equations."""

import math
from dataclasses import replace

import pytest
import torch
from attention_inputs import ARCHITECTURES, BATCH, COLUMNS, FORMS, HEADS, KEY_HEADS, ROWS, some_factors
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from atman_bench.attention import edit as edit_module
from atman_bench.attention.edit import (
    MASK_ROWS,
    AttentionEdit,
    AttentionInputs,
    Form,
    HiddenBlock,
    RowMin,
    Visibility,
    attend,
    attention_weights,
    edit_scores,
    scaled_products,
)
from atman_bench.core import device_traits
from atman_bench.core.errors import ConfigError


def smallest_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 16 rows."""
    monkeypatch.setattr(device_traits, "CPU", replace(device_traits.CPU, block_elements=1))


def edited_row(scores: list[float], visible: list[int], factors: list[float], edit: AttentionEdit) -> dict[int, float]:
    """Scores of a row's remaining columns: Eq. 4, the authors' shifted variant of it, Eq. 7, or some removed."""
    if edit.form is Form.LITERAL:
        return {j: factors[j] * scores[j] for j in visible}
    if edit.form is Form.SHIFTED:
        minimum = min(scores[j] for j in visible) if edit.row_min is RowMin.VISIBLE else min(scores)
        return {j: minimum + factors[j] * (scores[j] - minimum) for j in visible}
    if edit.form is Form.LOG:
        kept = {j: scores[j] + math.log(factors[j]) for j in visible if factors[j] > 0}
    else:
        kept = {j: scores[j] for j in visible if factors[j] == 1}
    return kept or {j: scores[j] for j in visible}


def reference(inputs: AttentionInputs, edit: AttentionEdit) -> Tensor:
    output = inputs.query.new_zeros(BATCH, HEADS, ROWS, inputs.value.shape[-1])
    for sample in range(BATCH):
        for head in range(HEADS):
            key, value = (t[sample, head * KEY_HEADS // HEADS] for t in (inputs.key, inputs.value))
            for row in range(ROWS):
                scores = [float(inputs.query[sample, head, row] @ k) * inputs.scaling for k in key]
                if inputs.softcap is not None:
                    scores = [inputs.softcap * math.tanh(s / inputs.softcap) for s in scores]
                if inputs.bias is not None:
                    scores = [s + float(b) for s, b in zip(scores, inputs.bias[sample, head, 0], strict=True)]
                visible = [j for j in range(COLUMNS) if inputs.visibility.visible[row, j]]
                edited = edited_row(scores, visible, edit.factors[sample].tolist(), edit)
                total = sum(math.exp(s) for s in edited.values())
                if inputs.sinks is not None:
                    total += math.exp(inputs.sinks[head])
                for column, score in edited.items():
                    output[sample, head, row] += math.exp(score) / total * value[column]
    return output


@pytest.mark.parametrize(("form", "row_min"), FORMS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_edited_attention_follows_the_equations(architecture, form, row_min):
    inputs, edit = ARCHITECTURES[architecture], AttentionEdit(some_factors(), form, row_min)
    torch.testing.assert_close(attend(inputs, edit), reference(inputs, edit), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("form", "row_min"), FORMS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_blocks_of_rows_change_nothing(monkeypatch, architecture, form, row_min):
    inputs, edit = ARCHITECTURES[architecture], AttentionEdit(some_factors(), form, row_min)
    whole = attend(inputs, edit)
    smallest_blocks(monkeypatch)
    torch.testing.assert_close(attend(inputs, edit), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("form", "row_min"), FORMS)
def test_a_block_of_rows_may_see_none_some_or_all_of_the_edited_columns(monkeypatch, form, row_min):
    smallest_blocks(monkeypatch)  # 16 rows: their last columns are 21, 37 and 45
    factors = torch.ones(BATCH, COLUMNS, dtype=torch.float64)
    factors[0, 24], factors[1, 40] = 0.1, 0.5
    inputs, edit = ARCHITECTURES["plain"], AttentionEdit(factors, form, row_min)
    torch.testing.assert_close(attend(inputs, edit), reference(inputs, edit), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("form", "row_min"), FORMS)
def test_factors_of_1_are_plain_attention(form, row_min):
    inputs = ARCHITECTURES["everything"]
    edit = AttentionEdit(torch.ones(BATCH, COLUMNS), form, row_min)
    torch.testing.assert_close(attend(inputs, edit), attend(inputs, None), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", [Form.LOG, Form.MASK])
def test_a_row_that_loses_all_its_columns_stays_causal_in_half_precision(dtype, form):
    inputs = ARCHITECTURES["plain"]
    half = replace(inputs, **{name: getattr(inputs, name).to(dtype) for name in ("query", "key", "value")})
    factors = torch.ones(BATCH, COLUMNS)
    factors[:, : COLUMNS - ROWS + 1] = 0.0
    weights = attention_weights(half, AttentionEdit(factors, form))
    assert not weights[:, :, ~inputs.visibility.visible].any()
    torch.testing.assert_close(weights[:, :, 0], attention_weights(half, None)[:, :, 0])
    assert not weights[:, :, 1:, : COLUMNS - ROWS + 1].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_minima_edits_and_softmax_of_half_precision_are_computed_in_float32(dtype):
    inputs = ARCHITECTURES["plain"]
    half = replace(inputs, **{name: getattr(inputs, name).to(dtype) for name in ("query", "key", "value")})
    factors = some_factors()
    weights = attention_weights(half, AttentionEdit(factors, Form.SHIFTED))
    scores = scaled_products(half, slice(None), None).double().masked_fill(~inputs.visibility.visible, math.inf)
    minimum = scores.amin(-1, keepdim=True)
    edited = minimum + factors[:, None, None].double() * (scores - minimum)
    expected = edited.masked_fill(~inputs.visibility.visible, -math.inf).softmax(-1)
    torch.testing.assert_close(weights, expected.float(), rtol=1e-5, atol=1e-7)


def test_shifted_suppression_never_raises_a_score_and_literal_does():
    hidden = torch.zeros(1, 4, dtype=torch.bool)
    scores = torch.tensor([[[[-3.0, -1.0, 0.5, 2.0]]]])
    factors = torch.full((1, 4), 0.1)
    shifted = edit_scores(scores.clone(), HiddenBlock(hidden, 0), AttentionEdit(factors, Form.SHIFTED))
    literal = edit_scores(scores.clone(), HiddenBlock(hidden, 0), AttentionEdit(factors, Form.LITERAL))
    assert (shifted <= scores).all()
    assert (literal > scores).tolist() == [[[[True, True, False, False]]]]


def test_log_amplification_has_no_logarithm_of_a_negative_factor():
    with pytest.raises(ConfigError, match=r"needs f <= 1; received f = 1\.5"):
        AttentionEdit(torch.tensor([[1.0, -0.5]]), Form.LOG)


@pytest.mark.parametrize("width", [3, 7, 10])
def test_visibility_is_read_off_any_mask(monkeypatch, width):
    monkeypatch.setattr(edit_module, "MASK_ROWS", 4)
    mask = torch.rand(10, width, generator=torch.Generator().manual_seed(width)) < 0.4
    mask[2], mask[5] = False, True
    read = Visibility.of_mask(mask[None, None])
    columns = [[j for j, visible in enumerate(row) if visible] for row in mask.tolist()]
    assert read.visible.equal(mask)
    assert read.ends == tuple(max(row, default=-1) + 1 for row in columns)
    assert read.clear == tuple(min(set(range(width)) - set(row), default=width) for row in columns)


class LargestCopy(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that an operation returns, views of one tensor left out."""

    def __init__(self, known: Tensor):
        super().__init__()
        self.known = known.untyped_storage().data_ptr()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves(found) if isinstance(t, Tensor)]
        sizes = [t.nbytes for t in tensors if t.untyped_storage().data_ptr() != self.known]
        self.bytes = max([self.bytes, *sizes])
        return found


def test_a_mask_is_read_without_a_copy_of_it():
    length = 4 * MASK_ROWS
    mask = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
    with LargestCopy(mask) as largest:
        assert Visibility.of_mask(mask).visible.data_ptr() == mask.data_ptr()
    assert 0 < largest.bytes <= mask.nbytes / 4
