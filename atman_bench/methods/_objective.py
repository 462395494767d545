"""What is explained: each target token's loss or logit, or how far it is from that of its foil."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atman_bench.core.device_traits import sent
from atman_bench.core.tensors import Encoded

ALL = slice(None)


def losses(logits: Float[Tensor, "B R V"], encoded: Encoded, which: slice = ALL) -> Float[Tensor, "B R"]:
    """Cross-entropy of target tokens (natural logarithm, float32), less that of their foils where there are some.

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
    """Logits of target tokens (float32), less those of their foils where there are some; differentiable.

    Args:
        logits: As in ``losses``.
        encoded: As in ``losses``.
        which: As in ``losses``.
    """
    found = _gathered(logits, encoded.target_ids[which])
    if encoded.foil_ids is None:
        return found
    return found - _gathered(logits, encoded.foil_ids[which])


def _cross_entropy(logits: Float[Tensor, "B R V"], ids: Int[Tensor, " R"]) -> Float[Tensor, "B R"]:
    targets = sent(ids.repeat(logits.shape[0]), logits.device)
    found = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets, reduction="none")
    return found.view(logits.shape[0], -1)


def _gathered(logits: Float[Tensor, "B R V"], ids: Int[Tensor, " R"]) -> Float[Tensor, "B R"]:
    index = sent(ids, logits.device)[None, :, None].expand(logits.shape[0], -1, -1)
    return logits.gather(-1, index)[..., 0].float()
