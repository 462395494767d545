"""A model's greedy continuation by transformers, with its failures as one line."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel

from atman_bench.attention.patching import foreign_code
from atman_bench.core.errors import ModelError

NO_NUMBERS = "the model's logits are no numbers: its weights are damaged, or its type is too narrow (try float32)"


class _Numbers(LogitsProcessor):
    """Leaves logits as they are: without it, a model that computes NaN would say its first token over and over."""

    def __call__(self, input_ids: Int[Tensor, "B S"], scores: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        if torch.isnan(scores).any():
            raise ModelError(NO_NUMBERS)
        return scores


def write_on(model: PreTrainedModel, name: str, inputs: Mapping[str, Tensor], max_new_tokens: int) -> list[int]:
    """What transformers' greedy generation returns for one prompt.

    Args:
        model: In evaluation mode.
        name: What it is called.
        inputs: Of the model, on its device.
        max_new_tokens: Tokens at the most; an end-of-text token stops earlier.

    Raises:
        ModelError: Its logits are no numbers, or its own code fails.
    """
    wrong = f"model {name!r} cannot write on (is every value of its generation_config.json of the right type?)"
    with foreign_code(wrong):
        grown = model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            logits_processor=LogitsProcessorList([_Numbers()]),
        )
    ids: list[int] = grown[0].tolist()
    return ids
