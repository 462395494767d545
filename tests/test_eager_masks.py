"""Removing tokens by ``form=mask`` against transformers' own eager attention, under a mask that is made here."""

import pytest
import tiny_models
import torch
from torch import Tensor

from atman_bench.attention.edit import AttentionEdit, Form
from atman_bench.methods._engine import EngineOptions, sweep

NAMES = ["llama", "mixtral", "gemma2", *tiny_models.ODD]
WINDOWS = {"gemma2": tiny_models.WINDOW, "mixtral-window": tiny_models.WINDOW}
"""Layers of these see no further back; of Gemma 2 every other one."""


def additive_mask(length: int, removed: list[int], window: int | None = None) -> Tensor:
    """(1, 1, S, S): 0 where a row may look and -inf elsewhere, written row by row.

    A row that would have nothing left to look at stays as it is.
    """
    mask = torch.full((length, length), -torch.inf)
    for row in range(length):
        visible = [column for column in range(row + 1) if window is None or row - column < window]
        for column in [column for column in visible if column not in removed] or visible:
            mask[row, column] = 0
    return mask[None, None]


@pytest.mark.parametrize("name", NAMES)
def test_losses_without_tokens_are_those_of_the_eager_model_under_an_additive_mask(name):
    adapter = tiny_models.adapter(name)
    encoded = adapter.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
    length = encoded.length
    removals = [[position] for position in range(length)] + [[0, 4, 5, 19], list(range(3, 14))]
    factors = torch.ones(len(removals), length)
    for row, removed in enumerate(removals):
        factors[row, removed] = 0.0
    losses = sweep(adapter, encoded, AttentionEdit(factors, Form.MASK), EngineOptions()).losses

    eager = tiny_models.build(name)
    eager.set_attn_implementation("eager")
    expected = []
    for removed in removals:
        mask = additive_mask(length, removed, WINDOWS.get(name))
        by_layer = {"sliding_attention": mask, "full_attention": additive_mask(length, removed)}
        given = by_layer if name == "gemma2" else mask
        with torch.inference_mode():
            logits = eager(input_ids=encoded.inputs["input_ids"], attention_mask=given, use_cache=False).logits[0]
        logprobs = logits[encoded.target_rows].log_softmax(-1)
        expected.append(-logprobs.gather(1, encoded.target_ids[:, None])[:, 0])
    torch.testing.assert_close(losses, torch.stack(expected), rtol=0, atol=1e-5)
    assert (losses - losses[-1]).abs().max() > 0.01
