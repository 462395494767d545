"""One method on one encoded sample, with what it cost."""

import math
from typing import Any

import torch

from atman_bench.core.errors import ModelError, NotApplicableError, SampleError
from atman_bench.core.measure import measure
from atman_bench.core.tensors import Attribution, Encoded, Explanation
from atman_bench.methods import METHODS
from atman_bench.methods._base import Contrast
from atman_bench.models._base import ModelAdapter, Plain


def explain_encoded(
    model: ModelAdapter, encoded: Encoded, method: str, config: Any, seed: int, plain: Plain | None = None
) -> Explanation:
    """Explain an encoded sample, and measure what that takes.

    Args:
        model: The adapter.
        encoded: One sample.
        method: Name of a method.
        config: An instance of the method's config class.
        seed: For stochastic methods.
        plain: The unperturbed model on the sample; None runs it.

    Raises:
        SampleError: The sample has no unit, so that there is nothing to explain; or target and foil are not one token
            each, and the method explains no other foil.
        NotApplicableError: The sample has a foil, and the method explains the target alone.
        ModelError: A log-probability or a score is not a finite number.
    """
    check_explainable(encoded, method)
    spec = METHODS.get(method)
    attribution, cost = measure(lambda: spec.explain(model, encoded, config, seed), model.model, model.device)
    plain = plain or model.plain(encoded)
    check_plain(plain)
    check_scores(method, attribution)
    foil_ids = encoded.foil_ids if encoded.foil is None else encoded.foil.target_ids
    return Explanation(
        uid=encoded.uid,
        method=method,
        variant=spec.label(config),
        scores=attribution.scores,
        per_target=attribution.per_target,
        units=attribution.units or encoded.units,
        target_texts=model.token_texts(encoded.target_ids.tolist()),
        target_logprobs=plain.logprobs,
        answered=plain.answered,
        cost=cost,
        remarks=attribution.remarks,
        foil=None if foil_ids is None else "".join(model.token_texts(foil_ids.tolist())),
    )


def check_explainable(encoded: Encoded, method: str) -> None:
    """A method can be asked about a sample.

    Raises:
        SampleError: The sample has no unit, so that there is nothing to explain; or its target or foil is a span, and
            the method explains one token against another.
        NotApplicableError: The sample has a foil, and the method explains the target alone.
    """
    if not len(encoded.units):
        raise SampleError(f"sample {encoded.uid} has no unit to explain; expected at least one")
    contrast = METHODS.get(method).contrast
    if encoded.has_foil and contrast is Contrast.NONE:
        raise NotApplicableError(
            f"{method} does not explain why one token rather than another: leave the foil out, or take a method whose "
            "scores are of losses or logits (atman, input_x_gradient)"
        )
    if encoded.foil is not None and contrast is not Contrast.SPAN:
        counts = f"{len(encoded.target_ids)} and {len(encoded.foil.target_ids)}"
        raise SampleError(
            f"{method} explains one token rather than another, as it reads both in one pass: target and foil have "
            f"{counts} tokens; take a method that explains spans (atman, input_x_gradient)"
        )


def check_plain(plain: Plain) -> None:
    """What the plain model says is numbers.

    Raises:
        ModelError: It is not.
    """
    if not all(map(math.isfinite, plain.logprobs)):
        raise ModelError(
            f"the model gives the target log-probabilities that are no numbers ({plain.logprobs[0]}, ...): its weights "
            "are damaged, or its type is too narrow (try float32)"
        )


def check_scores(method: str, attribution: Attribution) -> None:
    """Scores are finite numbers.

    Raises:
        ModelError: One is not.
    """
    if not torch.isfinite(attribution.scores).all():
        bad = int((~torch.isfinite(attribution.scores)).sum())
        raise ModelError(
            f"{method} gives {bad} of {len(attribution.scores)} units scores that are no finite numbers: the model's "
            "weights are damaged, or its type is too narrow (try float32)"
        )
