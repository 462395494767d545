"""One sample under one method, and how that ended; in this process, whichever it is."""

import hashlib
import logging
import math
from dataclasses import replace
from typing import Any

from atman_bench.core.errors import ModelError, NotApplicableError, SampleError, one_line
from atman_bench.core.memory import is_device_fault, is_out_of_memory
from atman_bench.core.records import Cost, Status, Units
from atman_bench.core.tensors import Attribution
from atman_bench.evaluation.driver.faults import DeviceFaultError
from atman_bench.evaluation.samples import PreparedSample
from atman_bench.evaluation.scoring import grid_facts
from atman_bench.evaluation.stored import StoredMap, float32_list
from atman_bench.methods._explain import explain_encoded
from atman_bench.models._base import Plain

_LOG = logging.getLogger(__name__)


def derived_seed(seed: int, uid: str) -> int:
    """A sample's own seed in [0, 2**32), the same whichever samples ran before it and on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{uid}".encode()).digest()[:4])


def ended(item: PreparedSample, status: Status = Status.OK, error: str | None = None) -> StoredMap:
    """How a sample ended that has no map, or has none yet."""
    return StoredMap(
        item.uid,
        status,
        label=item.label,
        word_labels=item.word_labels,
        word_of_target=item.encoded.word_of_target,
        group=item.sample.group,
        facts=dict(item.sample.facts),
        error=error,
    )


def explain_sample(item: PreparedSample, method: str, options: Any, seed: int) -> StoredMap:
    """How a sample ended under a method.

    Args:
        item: The sample.
        method: Name of the method.
        options: An instance of its config class.
        seed: Of the sample, see ``derived_seed``.

    Raises:
        NotApplicableError: It ends so for every sample.
        DeviceFaultError: The device reports an error that sticks to this process.
    """
    encoded, begun = item.encoded, ended(item)
    try:
        explanation = explain_encoded(item.adapter, encoded, method, options, seed, item.plain)
        if explanation.units is not encoded.units:  # a map of single pixels
            of_pixels = item.on(explanation.units)
            begun = replace(begun, label=of_pixels.label, word_labels=of_pixels.word_labels)
        plain = Plain(_finite(explanation.target_logprobs), explanation.answered)
        attribution = Attribution(explanation.scores, explanation.per_target)
        return completed(begun, attribution, explanation.units, plain, explanation.cost)
    except Exception as error:  # whatever one sample meets, the others are not to be lost for it
        return failed(begun, method, error)


def completed(begun: StoredMap, attribution: Attribution, units: Units, plain: Plain, cost: Cost) -> StoredMap:
    """The map of a sample that was explained.

    Args:
        begun: From ``ended``.
        attribution: Its scores.
        units: What they belong to.
        plain: The unperturbed model on the sample.
        cost: What explaining it took.
    """
    per_target = attribution.per_target
    return replace(
        begun,
        facts={**begun.facts, **grid_facts(units)},
        scores=float32_list(attribution.scores.tolist()),
        per_target=None if per_target is None else tuple(map(float32_list, per_target.tolist())),
        target_logprobs=plain.logprobs,
        answered=plain.answered,
        seconds=cost.seconds,
        forward_tokens=cost.forward_tokens,
        peak_bytes=cost.peak_bytes,
    )


def failed(begun: StoredMap, method: str, error: Exception) -> StoredMap:
    """How a sample ended that an error kept from its map.

    Args:
        begun: From ``ended``.
        method: Name of the method.
        error: What was raised.

    Raises:
        NotApplicableError: The error is one: it ends so for every sample.
        DeviceFaultError: The device reports an error that sticks to this process.
    """
    if isinstance(error, NotApplicableError):
        raise error
    if isinstance(error, SampleError):
        return replace(begun, status=Status.SKIPPED, error=one_line(error))
    _LOG.debug("%s of sample %s", method, begun.uid, exc_info=error)
    if is_device_fault(error):
        raise DeviceFaultError(one_line(error)) from error
    return replace(begun, status=Status.OOM if is_out_of_memory(error) else Status.ERROR, error=one_line(error))


def _finite(logprobs: tuple[float, ...]) -> tuple[float, ...]:
    """The log-probabilities.

    Raises:
        ModelError: One is not a number: the model's weights are damaged, or its type is too narrow.
    """
    if not all(map(math.isfinite, logprobs)):
        raise ModelError(f"the model gives the target log-probabilities that are no numbers: {logprobs}")
    return logprobs
