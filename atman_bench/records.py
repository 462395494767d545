"""Records that travel through an evaluation and carry no tensors; ``tensors.py`` has those that do.

U explained units, T target tokens, S input positions (see ``docs/architecture.md`` for all terms).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

SCHEMA = 1
"""Version of every stored file; readers refuse any other."""


@dataclass(frozen=True)
class CharSpans:
    """Evidence in a text: half-open character ranges ``[start, end)`` of the prompt."""

    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Sample:
    """One question to a model, with the evidence that an explanation should point at.

    Attributes:
        uid: Unique within its dataset, stable between runs.
        prompt: The text before the target.
        target: The text whose tokens are explained, with its leading space (``" Paris"``).
        explain: Half-open character range of the prompt that is explained (SQuAD: the context).
        label: Where the evidence is, in characters of the prompt.
        group: What bootstrap intervals resample (SQuAD: the paragraph).
        facts: Further facts for tables and figures, such as the article or the number of questions of the paragraph.
    """

    uid: str
    prompt: str
    target: str
    explain: tuple[int, int]
    label: CharSpans
    group: str
    facts: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """A sample that a dataset or an adapter could not use, and why: counted in every table, never just dropped."""

    uid: str
    reason: str


@dataclass(frozen=True)
class TextUnits:
    """The U explained units of a text.

    Attributes:
        texts: What each unit reads, for display.
        spans: Half-open character range of each unit in the prompt, or None for a prompt that was given as token ids.
    """

    texts: tuple[str, ...]
    spans: tuple[tuple[int, int], ...] | None = None

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Cost:
    """What one explanation took.

    Attributes:
        seconds: Wall time of the explanation alone, synchronised with the device.
        forward_tokens: Token positions that went through the model's layers, over all forward passes.
        peak_bytes: Peak device memory above what was allocated before; None where it cannot be measured.
    """

    seconds: float
    forward_tokens: int
    peak_bytes: int | None = None


class Status(StrEnum):
    """How a sample ended."""

    OK = "ok"
    OOM = "oom"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Row:
    """One metric of one explanation: a flat line of ``rows*.jsonl``.

    Attributes:
        fingerprint: Names everything that can change the map (see ``store.py``).
        metric: Name of the metric (``ap``).
        sign: How signed scores became a map (``positive``).
        value: The metric, in [0, 1] for all that are shares; None where it is undefined or the sample did not end ok.
        n_units: U, the number of explained units.
        n_positive: Units that the label covers.
        target_logprob: Sum of the target tokens' log-probabilities (natural logarithm).
        answered: Whether greedy decoding gives the target.
        group: What bootstrap intervals resample.
        n_questions: How many questions the sample's paragraph has, where the dataset says (Fig. 8b).
        error: Why the status is not ok.
    """

    fingerprint: str
    dataset: str
    model: str
    method: str
    variant: str
    uid: str
    metric: str
    sign: str
    value: float | None
    status: Status
    group: str = ""
    n_questions: int | None = None
    n_units: int = 0
    n_positive: int = 0
    target_logprob: float | None = None
    answered: bool | None = None
    seconds: float | None = None
    forward_tokens: int | None = None
    peak_bytes: int | None = None
    error: str | None = None
    schema: int = SCHEMA
