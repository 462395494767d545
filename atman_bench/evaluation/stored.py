"""What is stored of an evaluation: one map per sample, and what names the cell that it belongs to."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from atman_bench.core.errors import StoreError
from atman_bench.core.jsonl import record_of
from atman_bench.core.options import ADDED_LATER, identity_options
from atman_bench.core.records import Status, UnitKind


class Ending(NamedTuple):
    """How a sample ended, without its map.

    Attributes:
        status: How.
        labelled: Whether it has a label: whether a method saw it.
    """

    status: Status
    labelled: bool

    @property
    def finished(self) -> bool:
        """Whether another run leaves it as it is: ``ok``, or refused by the method.

        ``oom`` and ``error`` are tried again. A sample that a run skipped before any method saw it has no label; a run
        with a larger token limit may use it.
        """
        return self.status is Status.OK or (self.status is Status.SKIPPED and self.labelled)


@dataclass(frozen=True)
class StoredMap:
    """How one sample ended, with its map if it ended ``ok``. Everything that rows need is here.

    Attributes:
        uid: The sample's.
        status: How it ended.
        scores: (U,) relevance, mean over the target tokens; each number names a float32 exactly.
        per_target: (T, U), or None where the method explains the mean only.
        label: (U,) the share of each unit that is evidence; 1 for text that it touches.
        word_labels: The label of each word, for samples whose words have evidence of their own (GQA); else None.
        word_of_target: Which word each target token belongs to; None exactly if ``word_labels`` is.
        group: What bootstrap intervals resample.
        facts: The sample's further facts.
        target_logprobs: (T,) log-probabilities of the target tokens under the plain model (natural logarithm).
        answered: Whether greedy decoding gives the target.
        seconds: Wall time of the explanation.
        forward_tokens: Token positions that went through the layers.
        peak_bytes: Peak device memory of the explanation above what was allocated before.
        error: Why the status is not ``ok``.
        environment: Which of the cell's environments computed it; the header of its part file says so.
    """

    uid: str
    status: Status
    scores: tuple[float, ...] = ()
    per_target: tuple[tuple[float, ...], ...] | None = None
    label: tuple[float, ...] = ()
    word_labels: tuple[tuple[float, ...], ...] | None = None
    word_of_target: tuple[int, ...] | None = None
    group: str = ""
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    target_logprobs: tuple[float, ...] = ()
    answered: bool | None = None
    seconds: float | None = None
    forward_tokens: int | None = None
    peak_bytes: int | None = None
    error: str | None = None
    environment: str | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "StoredMap":
        """A map from the values of its fields, with lists for tuples and perhaps a schema version.

        Raises:
            ValueError: A value is of another kind, or a field does not exist or is missing.
        """
        if missing := {"scores", "per_target", "label", "target_logprobs"} - content.keys():
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        stored = record_of(cls, {name: value for name, value in content.items() if name != "schema"})
        if stored.status is Status.OK:
            maps = stored.per_target if stored.per_target is not None else (stored.scores,)
            of_units = (stored.label, *maps, *(stored.word_labels or ()))
            if not stored.scores or any(len(values) != len(stored.scores) for values in of_units):
                raise ValueError("it has not one score and one label for each unit")
            if not maps or (stored.per_target and len(stored.word_of_target or maps) != len(maps)):
                raise ValueError("it has not one map for each target token")
        return stored

    @property
    def finished(self) -> bool:
        """See ``Ending``."""
        return Ending(self.status, bool(self.label)).finished


@dataclass(frozen=True)
class Identity:
    """Everything that can change a cell's maps, and nothing else: no limit, batch size, metric or sibling method.

    Attributes:
        dataset: Name of the dataset.
        dataset_options: Its resolved options; where the data lie is left out, ``dataset_hash`` is their content.
        dataset_hash: The dataset's content hash.
        model: Name of the model as the user wrote it.
        model_hash: Content hash of its weights, or the hub revision.
        dtype: Name of the weights' type.
        method: Name of the method.
        method_version: ``SPEC.version``, raised when the method's numbers change.
        method_options: Its resolved options.
        seed: The run's seed for stochastic methods, else None.
        units: What of a text is one unit.
        plugins: ``method``, ``dataset`` or ``model`` -> the version of the plug-in that defines it; None where all are
            parts of this package.
    """

    dataset: str
    dataset_options: Mapping[str, Any]
    dataset_hash: str
    model: str
    model_hash: str
    dtype: str
    method: str
    method_version: int
    method_options: Mapping[str, Any]
    seed: int | None
    units: UnitKind = field(default=UnitKind.TOKEN, metadata=ADDED_LATER)
    plugins: Mapping[str, str] | None = field(default=None, metadata=ADDED_LATER)

    @cached_property
    def fingerprint(self) -> str:
        """See ``fingerprint_of``."""
        return fingerprint_of(self)

    def same_experiment(self, other: "Identity") -> bool:
        """Whether only the method differs, so that the two cells can be compared."""
        ours, theirs = (
            replace(
                identity,
                method="",
                method_version=0,
                method_options={},
                seed=None,
                plugins={part: v for part, v in (identity.plugins or {}).items() if part != "method"} or None,
            )
            for identity in (self, other)
        )
        return ours.fingerprint == theirs.fingerprint


def fingerprint_of(record: Any) -> str:
    """The digest of a dataclass: see ``digest_of``; a field that was added later counts where it is not the default."""
    return digest_of(identity_options(record))


def float32_list(values: Iterable[float]) -> tuple[float, ...]:
    """The shortest decimal numbers that name these float32 values: ``np.float32`` of each gives the value back.

    Raises:
        StoreError: A value is not finite.
    """
    array = np.asarray(values, np.float32)
    if not np.isfinite(array).all():
        raise StoreError(f"only finite numbers can be stored; received {array[~np.isfinite(array)][0]}")
    return tuple(float(str(value)) for value in array)


def digest_of(content: Any) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of something as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()[:12]
