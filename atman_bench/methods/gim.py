"""Gradient interaction modifications (GIM, Edin et al. 2025): gradients that do not let interactions hide a cause.

Norms are divided by constants; the attention's softmax is passed at temperature 2, so that a duplicate which would take
over does not silence the original; each factor of a product gets half, activations keep their derivative. The routing
weights of a mixture of experts share their product too: that is our reading, the authors' package has none.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from atman_bench.core.errors import NotApplicableError
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._relevance import RelevanceConfig, relevance
from atman_bench.methods._rules import Rules
from atman_bench.models._base import ModelAdapter

RULES = Rules(ratios=False, temperature=2.0)


@dataclass(frozen=True, kw_only=True)
class GimConfig(RelevanceConfig):
    """Options of GIM.

    Attributes:
        baseline_token: The id of a token whose embedding is subtracted from each position's before it is multiplied by
            the gradient (the authors take that of a space); null subtracts nothing.
        contrastive: The gradient is of the target's logit less the mean of all logits, instead of the logit alone; null
            is false whatever the architecture: the method's own numbers on GPT-2 are of the logit alone.
    """

    baseline_token: int | None = None


def explain(model: ModelAdapter, encoded: Encoded, config: GimConfig, seed: int) -> Attribution:
    """(Embedding - baseline) x changed gradient, summed over the hidden size; never contrastive unless told to be."""
    baseline = None if config.baseline_token is None else _embedding(model, config.baseline_token)
    return relevance(model, encoded, RULES, "gim", bool(config.contrastive), config.checkpointing, baseline)


@torch.no_grad()
def _embedding(model: ModelAdapter, token: int) -> Tensor:
    """Raises NotApplicableError for an id that the model lacks."""
    table = model.model.get_input_embeddings()
    last = table.weight.shape[0] - 1
    if not 0 <= token <= last:
        raise NotApplicableError(f"baseline_token {token} is no token of {model.name}: expected 0 to {last}")
    embedded: Tensor = table(torch.tensor([[token]], device=model.device))
    return embedded[0, 0].float()


SPEC = MethodSpec(
    summary="GIM: gradients with softmax temperature 2, frozen norms and shared products",
    version=1,
    config=GimConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1 + 2 * n_targets,
    variants={"contrastive": {"contrastive": True}, "checkpointed": {"checkpointing": True}},
    default=False,
    contrast=Contrast.SPAN,
)
