"""Relevance of input embeddings: embedding x gradient under gradient rules, read at each target token's logit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from atman_bench.core.errors import NotApplicableError
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._gradients import GradientConfig, checkpointing, parameters_require_grad
from atman_bench.methods._objective import attribution_of, logits_of_targets
from atman_bench.methods._rules import Rules, applied, as_ratio
from atman_bench.methods._rules_check import Trace
from atman_bench.models._base import ModelAdapter, Pass

INJECTED = "deepstack_visual_embeds"
"""Inputs of a decoder that later layers add to its image tokens (Qwen3-VL): parts of the same image."""


@dataclass(frozen=True, kw_only=True)
class RelevanceConfig(GradientConfig):
    """Options of the methods with gradient rules.

    Attributes:
        contrastive: The gradient is of the target's logit less the mean of all logits, instead of the logit alone; null
            decides by the architecture, as the authors of the method advise. With a foil it is of the contrast with
            that in any case.
    """

    contrastive: bool | None = None


def is_gpt2(model: ModelAdapter) -> bool:
    """Whether the decoder is a GPT-2."""
    return model.model.config.get_text_config().model_type == "gpt2"


def relevance(
    model: ModelAdapter,
    encoded: Encoded,
    rules: Rules,
    method: str,
    contrastive: bool,
    checkpointed: bool,
    baseline: Tensor | None = None,
) -> Attribution:
    """One forward pass, and one backward pass for each target token; likewise for a foil of its own.

    Args:
        model: A decoder; the embeddings of an image's tokens count like those of words.
        encoded: One sample.
        rules: Of the backward passes.
        method: Name for messages.
        contrastive: See ``RelevanceConfig``.
        checkpointed: See ``GradientConfig``.
        baseline: An embedding (D,) that is subtracted from each, or None.

    Raises:
        NotApplicableError: The model is no decoder, or a part of it is not known.
    """
    if encoded.reading_rows is not None:
        raise NotApplicableError(f"{method} is defined for decoders; {model.name} attends to its image in an encoder")

    def each(one: Encoded) -> Float[Tensor, "T U"]:
        return one.pool(_per_position(model, one, rules, method, contrastive, checkpointed, baseline))

    return attribution_of(encoded, each)


def _per_position(
    model: ModelAdapter,
    encoded: Encoded,
    rules: Rules,
    method: str,
    contrastive: bool,
    checkpointed: bool,
    baseline: Tensor | None,
) -> Float[Tensor, "T S"]:
    """The relevance of one sequence."""
    rows = encoded.target_rows.tolist()
    trace = Trace(model.model, rules)
    with (
        parameters_require_grad(model.model, False),
        checkpointing(model.model, checkpointed),
        applied(model.model, rules),
        model.host.applied(trace),
    ):
        embeddings = _leaf(model.embeddings(encoded))
        injected = {name: _leaf(t) for name, t in encoded.inputs.items() if name.startswith(INJECTED)}
        encoded = replace(encoded, inputs={**encoded.inputs, **injected})
        leaves = [embeddings, *injected.values()]
        with trace.followed(), _head_outputs(model.model) as heads:
            logits = model.run(encoded, Pass(rows=rows, embeddings=embeddings))
            if rules.ratios and getattr(model.model.config.get_text_config(), "final_logit_softcapping", None):
                logits = as_ratio(heads[0], logits)
            trace.require_rules(logits, method)
        factors = [leaf.detach().float() for leaf in leaves]
        if baseline is not None:
            factors[0] = factors[0] - baseline.to(factors[0])
        per_position = torch.zeros(len(rows), encoded.length)
        explained = logits_of_targets(logits, encoded)[0]
        if contrastive and encoded.foil_ids is None and encoded.foil is None:
            # The other logits over the size of the vocabulary, as the authors' package has it.
            explained = explained - (logits[0].float().sum(-1) - explained) / logits.shape[-1]
        for index, objective in enumerate(explained):
            last = index == len(rows) - 1
            gradients = torch.autograd.grad(objective, leaves, retain_graph=not last)
            own, *others = ((x * g.float()).sum(-1).cpu() for x, g in zip(factors, gradients, strict=True))
            per_position[index] = own[0]
            for other in others:
                per_position[index, encoded.inputs["visual_pos_masks"][0].cpu()] += other
    return per_position


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_()


@contextmanager
def _head_outputs(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Logits as a model's head gives them, before what its own code does to them."""
    outputs: list[Tensor] = []
    handle = model.get_output_embeddings().register_forward_hook(lambda head, args, out: outputs.append(out))
    try:
        yield outputs
    finally:
        handle.remove()
