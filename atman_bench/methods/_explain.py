"""One method on one encoded sample, with what it cost."""

from typing import Any

from atman_bench.core.measure import measure
from atman_bench.core.tensors import Encoded, Explanation
from atman_bench.methods import METHODS
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
    """
    spec = METHODS.get(method)
    attribution, cost = measure(lambda: spec.explain(model, encoded, config, seed), model.model, model.device)
    plain = plain or model.plain(encoded)
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
    )
