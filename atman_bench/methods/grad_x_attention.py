"""Gradient x attention at the rows that predict the target, summed over layers: a baseline of one backward pass."""

import torch

from atman_bench.attention.patching import Recorder
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._gradients import GradientConfig, checkpointing, parameters_require_grad
from atman_bench.methods._objective import logits_of_targets
from atman_bench.models._base import ModelAdapter, Pass


def explain(model: ModelAdapter, encoded: Encoded, config: GradientConfig, seed: int) -> Attribution:
    """Positive part of the heads' mean of A dA, A the attention and dA the logit's gradient, at the target's row.

    Unlike Chefer's method it does not roll layers into each other.
    """
    rows = encoded.target_rows.tolist()
    recorder = Recorder(first_is_leaf=True)
    per_position = torch.zeros(len(rows), encoded.length)
    with (
        parameters_require_grad(model.model, False),
        checkpointing(model.model, config.checkpointing),
        model.host.applied(recorder),
    ):
        explained = logits_of_targets(model.run(encoded, Pass(rows=rows)), encoded)[0]
        for index, read in enumerate(encoded.rows_read.tolist()):
            last = index == len(rows) - 1
            gradients = torch.autograd.grad(explained[index], recorder.weights, retain_graph=not last)
            for weights, gradient in zip(recorder.weights, gradients, strict=True):
                product = (weights * gradient).detach()[0, :, read].float().mean(0)
                per_position[index] += product.clamp(min=0).cpu()
    return Attribution.mean_of(encoded.pool(per_position))


SPEC = MethodSpec(
    summary="Gradient x attention at the target's rows: positive part, summed over layers (baseline)",
    version=1,
    config=GradientConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1 + 2 * n_targets,
    variants={"checkpointed": {"checkpointing": True}},
    default=False,
    contrast=Contrast.TOKEN,
)
