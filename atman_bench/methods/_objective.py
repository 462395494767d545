"""What is explained: each target token's loss or logit, or how far the target is from its foil.

One token against another is a difference within one pass. A target against a foil of any length is a difference of two
sequences behind the same prompt: the sum over the target's tokens less the sum over the foil's, of losses or, where
gradients are taken, of log-probabilities, which is the logits' difference for single tokens (Yin and Neubig 2022).
"""

from collections.abc import Callable, Iterable, Iterator
from functools import reduce

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atman_bench.core.device_traits import sent
from atman_bench.core.tensors import Attribution, Encoded

ALL = slice(None)


def losses(logits: Float[Tensor, "B R V"], encoded: Encoded, which: slice = ALL) -> Float[Tensor, "B R"]:
    """Cross-entropy of target tokens (natural logarithm, float32), less that of the tokens they are paired with.

    Args:
        logits: Of the rows that predict the targets.
        encoded: The sample.
        which: Its R target tokens that these are.
    """
    found = _cross_entropy(logits, encoded.target_ids[which])
    if encoded.foil_ids is None:
        return found
    return found - _cross_entropy(logits, encoded.foil_ids[which])


def logits_of_targets(logits: Float[Tensor, "B R V"], encoded: Encoded, which: slice = ALL) -> Float[Tensor, "B R"]:
    """Logits of target tokens (float32), less those of the tokens they are paired with; differentiable.

    Of a sequence that is explained against another, log-probabilities: logits of different rows have no common zero.

    Args:
        logits: As in ``losses``.
        encoded: As in ``losses``.
        which: As in ``losses``.
    """
    if encoded.foil is not None:
        return -_cross_entropy(logits, encoded.target_ids[which])
    found = _gathered(logits, encoded.target_ids[which])
    if encoded.foil_ids is None:
        return found
    return found - _gathered(logits, encoded.foil_ids[which])


def contrasted(encoded: Encoded, each: Callable[[Encoded], Iterable[Tensor]]) -> Iterator[Tensor]:
    """What a method makes of each of the T target tokens; against a foil of its own, one sum less the other.

    Args:
        encoded: The sample.
        each: ``sequence -> an array for each of its target tokens``. Where they differ in length, along their first
            axis, what lies beyond the shortest is left out of sums: only positions of the prompt are in all.
    """
    if encoded.foil is None:
        yield from each(encoded)
    else:
        target, foil = (reduce(_plus, each(one)) for one in (encoded, encoded.foil))
        yield _plus(target, -foil)


def attribution_of(
    encoded: Encoded,
    each: Callable[[Encoded], Iterable[Tensor]],
    reduced: Callable[[Tensor], Float[Tensor, " U"]] = lambda scores: scores,
) -> Attribution:
    """Relevance for each target token and its mean, or of the contrast with a foil of its own.

    Args:
        encoded: The sample.
        each: ``sequence -> an array for each of its target tokens``, linear in what is explained; see ``contrasted``.
        reduced: What makes scores of the units of one; by default they are.
    """
    scores = [reduced(array) for array in contrasted(encoded, each)]
    if len(scores) == len(encoded.target_ids):
        return Attribution.mean_of(torch.stack(scores))
    return Attribution(scores[0].detach().to("cpu", torch.float32))


def _plus(a: Tensor, b: Tensor) -> Tensor:
    shared = min(len(a), len(b))
    return a[:shared] + b[:shared]


def _cross_entropy(logits: Float[Tensor, "B R V"], ids: Int[Tensor, " R"]) -> Float[Tensor, "B R"]:
    targets = sent(ids.repeat(logits.shape[0]), logits.device)
    found = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets, reduction="none")
    return found.view(logits.shape[0], -1)


def _gathered(logits: Float[Tensor, "B R V"], ids: Int[Tensor, " R"]) -> Float[Tensor, "B R"]:
    index = sent(ids, logits.device)[None, :, None].expand(logits.shape[0], -1, -1)
    return logits.gather(-1, index)[..., 0].float()
