"""The benchmark without the command line: methods on samples of one's own, scored against their evidence."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atman_bench.api.explain import Model, adapter_of
from atman_bench.core.errors import DataError
from atman_bench.core.records import Boxes, CharSpans, Modality, Picture, Sample
from atman_bench.datasets import DATASETS
from atman_bench.datasets._base import Dataset
from atman_bench.evaluation.config import resolve
from atman_bench.evaluation.in_memory import evaluate_samples
from atman_bench.evaluation.runner import Progress
from atman_bench.report import tables

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase, ProcessorMixin

OWN = "own samples"
"""What tables call a dataset that was given as samples."""

_KEYS = frozenset({"id", "prompt", "target", "evidence", "context", "group", "image", "boxes"})


def evaluate(
    model: Model,
    samples: str | Iterable[Sample | Mapping[str, Any]],
    *,
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]] | None = None,
    metrics: Sequence[str] = (),
    baselines: bool = True,
    sign: str = "positive",
    seed: int = 0,
    limit: int | None = None,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    processor: "ProcessorMixin | None" = None,
    progress: Progress | None = None,
) -> "pd.DataFrame":
    """How well do methods point at the evidence of samples? Nothing is stored.

    Args:
        model: From ``load_model``, or what that takes.
        samples: Name of a dataset, or samples: each a ``Sample``, or a mapping with ``prompt``, ``target`` and
            ``evidence`` (words of the prompt, or half-open character ranges ``[start, end)``); with an image ``image``
            (a file) and ``boxes`` (left, top, right, bottom in its pixels) instead of evidence. Optional: ``id``,
            ``context`` (the words of the prompt that are ranked, or their range; by default all of it) and ``group``
            (what intervals resample; by default each sample by itself).
        methods: ``METHOD`` or ``METHOD:VARIANT``, or each with its options; None takes all that apply.
        metrics: Names of metrics; none takes those that are computed by default.
        baselines: Add the baselines that see no model to the methods that are named.
        sign: How signed scores become a map.
        seed: Of the order of samples and of stochastic methods.
        limit: How many usable samples; None takes all.
        tokenizer: Of a loaded model.
        processor: Of a loaded vision-language model.
        progress: Called before each explanation with (done, to do, what is being done).

    Returns:
        A line for each sample, method and metric: ``uid``, ``method``, ``variant``, ``metric``, ``value`` (in [0, 1]
        for shares; NaN where it is undefined), ``status``, ``answered``, ``seconds``, ``forward_tokens`` and more.
        ``summarise`` makes the table of it, with means, counts of what is missing, and 95 % intervals.

    Raises:
        UnknownNameError: No such dataset, method, variant, option or metric.
        ConfigError: An option has an impossible value.
        DataError: A sample lacks something, or none is usable.
        ModelError: The model cannot be loaded or does not pass its probe.

    Example:
        >>> import atman_bench
        >>> rows = atman_bench.evaluate("tiny-text", "facts", methods=["attention"], limit=5)
        >>> sorted(set(rows["method"]))
        ['attention', 'position', 'random', 'uniform']
        >>> table = atman_bench.summarise(rows)
        >>> int(table["n"].max())
        5
    """
    if isinstance(samples, str):
        spec = DATASETS.get(samples)
        name, dataset = samples, spec.load(spec.config())
        modality = spec.modality
    else:
        name, dataset = OWN, Dataset(tuple(_sample(i, given) for i, given in enumerate(samples)), (), OWN)
        modality = Modality.IMAGE if any(sample.picture for sample in dataset.samples) else Modality.TEXT
        if not dataset.samples:
            raise DataError("there are no samples: give at least one with prompt, target and evidence")
    stand_in = name if name in DATASETS else "scenes" if modality is Modality.IMAGE else "facts"
    flags = {
        "dataset": stand_in,
        "methods": methods,
        "metrics": list(metrics) or None,
        "sign": sign,
        "seed": seed,
        "limit": limit,
        "baselines": baselines,
    }
    config = resolve({}, flags, ())
    adapter = adapter_of(model, tokenizer, processor)
    adapter.probe()
    return tables.frame_of(evaluate_samples(adapter, name, dataset, config, progress or (lambda *_: None)))


def summarise(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The table of ``evaluate``: a line for each method, metrics x 100; see ``report.tables.summarise``."""
    return tables.summarise(rows)


def _sample(index: int, given: Sample | Mapping[str, Any]) -> Sample:
    """A sample from its mapping.

    Raises:
        DataError: A key is missing, unknown or of another type, or the prompt lacks what should be in it.
    """
    if isinstance(given, Sample):
        return given
    where = f"samples[{index}]"
    if not isinstance(given, Mapping):
        raise DataError(f"{where} is neither a Sample nor a mapping: received {type(given).__name__}")
    if unknown := sorted(map(str, given.keys() - _KEYS)):
        raise DataError(f"{where}: unknown key {unknown[0]!r}; valid: {', '.join(sorted(_KEYS))}")
    for key in ("prompt", "target"):
        if not isinstance(given.get(key), str) or not given[key]:
            raise DataError(f"{where}: {key} must be a text that is not empty, received {given.get(key)!r}")
    prompt = given["prompt"]
    uid = str(given.get("id", index))
    about = {"uid": uid, "prompt": prompt, "target": given["target"], "group": str(given.get("group", uid))}
    if given.get("image") is not None:
        boxes = given.get("boxes")
        if not isinstance(boxes, Sequence) or not boxes or any(len(box) != 4 for box in boxes):
            raise DataError(f"{where}: an image needs boxes, each (left, top, right, bottom), received {boxes!r}")
        placed = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in boxes)
        return Sample(explain=None, label=Boxes(placed), picture=Picture(Path(given["image"])), **about)
    evidence = given.get("evidence")
    several = [evidence] if isinstance(evidence, str) else evidence
    if not isinstance(several, Sequence) or not several:
        raise DataError(f"{where}: evidence must be words of the prompt or character ranges, received {evidence!r}")
    spans = tuple(_span(where, "evidence", prompt, part) for part in several)
    context = given.get("context")
    explain = (0, len(prompt)) if context is None else _span(where, "context", prompt, context)
    return Sample(explain=explain, label=CharSpans(spans), **about)


def _span(where: str, key: str, prompt: str, part: Any) -> tuple[int, int]:
    """Where a part of a prompt stands: words at their first place, or a range."""
    if isinstance(part, str) and part:
        start = prompt.find(part)
        if start < 0:
            raise DataError(f"{where}: the prompt does not hold the {key} {part!r}")
        return start, start + len(part)
    if isinstance(part, Sequence) and len(part) == 2 and all(isinstance(edge, int) for edge in part):
        start, end = part
        if 0 <= start < end <= len(prompt):
            return start, end
    raise DataError(f"{where}: {key} must be words of the prompt or [start, end) in it, received {part!r}")
