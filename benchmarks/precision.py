"""What narrower types do to AtMan's maps, and what they save: the same samples in all types, side by side in one run.

    python benchmarks/precision.py --model pulled:smollm2-135m --config small --data FILE --out results/precision

A plain pass and the exact map (``atman``, form ``shifted``) of each sample run in all types one after the other, each
sample beginning with another type. Against the map in float32, per sample: Spearman's rank correlation; the share of
the relevance of its best tenth that the best tenth of the other map holds; half the L1 distance of the positive parts,
each scaled to sum 1 (all three as in ``fidelity.py``); the differences of AP and AUPRC against the evidence, of which
the line of float32 has the values. Means x 100 with 95 % bootstrap intervals over groups. *time* is the geometric mean
of the samples' ratios of wall times, with its interval: other processes blur it. Weights are those of the whole model,
10^6 bytes.

``--out`` gets ``rows.jsonl``, a line for each sample, to which a later run with a larger limit adds, and ``table.md``.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fidelity import closeness
from jaxtyping import Float

from atman_bench.core.provenance import environment
from atman_bench.core.records import Dtype, Quantization, type_name
from atman_bench.datasets import DATASETS
from atman_bench.evaluation.config import RunConfig, load_config, load_configured
from atman_bench.evaluation.samples import UsableSample, select
from atman_bench.methods import METHODS
from atman_bench.metrics._signs import Sign, apply_sign
from atman_bench.metrics._statistics import bootstrap_interval
from atman_bench.metrics.auprc import auprc
from atman_bench.metrics.average_precision import average_precision
from atman_bench.models._base import ModelAdapter
from atman_bench.report._format import markdown_table, with_interval

REFERENCE = Dtype.FLOAT32.value
TYPES = {
    type_name(dtype, quantization): {"dtype": dtype, "quantize": quantization}
    for quantization in (None, Quantization.INT8)
    for dtype in (Dtype.FLOAT32, Dtype.BFLOAT16)
}
"""What results call a type -> how a model is loaded in it."""

HEADER = (
    *("type", "weights, MB", "n", "Spearman", "best tenth", "L1", "mAP", "AUPRC"),
    *("same answer", "time", "time of a plain pass"),
)


@dataclass(frozen=True)
class Found:
    """One sample in one type.

    Attributes:
        scores: Of the U units.
        seconds: Of the map.
        plain_seconds: Of a plain pass.
        answered: Whether greedy decoding gives the target.
    """

    scores: list[float]
    seconds: float
    plain_seconds: float
    answered: bool


def main() -> None:
    """Parse the command line, run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-text", help="(default: %(default)s)")
    parser.add_argument("--config", help="a preset or YAML file: dataset, template, longest sample")
    parser.add_argument("--dataset", help="(default: the preset's, or facts)")
    parser.add_argument("--data", help="what the dataset reads")
    parser.add_argument("--limit", type=int, default=12, help="samples (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder of rows and table")
    told = parser.parse_args()
    flags = {name: getattr(told, name) for name in ("model", "dataset", "data", "limit")}
    config = load_config(told.config, {**flags, "methods": ["atman"], "baselines": False}, [])
    told.out.mkdir(parents=True, exist_ok=True)
    file = told.out / "rows.jsonl"
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    models = {name: load_configured(replace(config, **options)) for name, options in TYPES.items()}
    dataset = DATASETS.get(config.dataset).load(config.dataset_options)
    samples = [item.usable for item in select(models[REFERENCE], dataset, config).samples]
    of_run = environment(device="cpu", threads=torch.get_num_threads())
    with file.open("a", encoding="utf-8") as lines:
        for index, item in enumerate(samples):
            if any(row["uid"] == item.uid for row in known):
                continue
            known.append({**row_of(item, models, index, config), "environment": of_run})
            lines.write(json.dumps(known[-1]) + "\n")
            lines.flush()
            print(f"{index + 1} of {len(samples)}", flush=True)
    weights = {name: model.weight_bytes for name, model in models.items()}
    chosen = {item.uid for item in samples}
    text = table([row for row in known if row["uid"] in chosen], weights)
    (told.out / "table.md").write_text(text, encoding="utf-8")
    print(text, end="")


def row_of(item: UsableSample, models: Mapping[str, ModelAdapter], index: int, config: RunConfig) -> dict[str, Any]:
    """What is stored of a sample."""
    first = index % len(models)
    order = [*models][first:] + [*models][:first]
    found = {name: vars(measure(item, models[name], config)) for name in order}
    return {"uid": item.uid, "group": item.sample.group, "label": item.label, "types": found}


def measure(item: UsableSample, model: ModelAdapter, config: RunConfig) -> Found:
    """A plain pass and the exact map of one sample."""
    prepared = item.on_model(model)
    encoded = prepared.encoded
    model.plain(encoded)  # the weights into the caches, the threads awake
    started = time.perf_counter()
    plain = model.plain(encoded)
    passed = time.perf_counter()
    (cell,) = config.cells
    attribution = METHODS.get(cell.method).explain(model, encoded, cell.options, config.seed)
    return Found(attribution.scores.tolist(), time.perf_counter() - passed, passed - started, plain.answered)


def table(rows: Sequence[Mapping[str, Any]], weights: Mapping[str, int]) -> str:
    """A line for each type."""
    lines = [[name, f"{weights[name] / 1e6:.0f}", *_numbers(rows, name)] for name in TYPES]
    return markdown_table(HEADER, [":---"] + ["---:"] * (len(HEADER) - 1), lines)


def _numbers(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    pairs = [(row["types"][REFERENCE], row["types"][name]) for row in rows]
    groups = np.array([row["group"] for row in rows])
    close = [closeness(*(np.array(each["scores"], float) for each in pair)) for pair in pairs]
    values = [[100 * each[measure] for each in close] for measure in ("Spearman", "best tenth", "L1")]
    for metric in (average_precision, auprc):
        scored = [[_scored(metric, each, row) for each in pair] for pair, row in zip(pairs, rows, strict=True)]
        values.append([100 * (found if name == REFERENCE else found - exact) for exact, found in scored])
    same = sum(exact["answered"] == found["answered"] for exact, found in pairs)
    ratios = [
        _interval(np.log([found[key] / exact[key] for exact, found in pairs]), groups, np.exp, ".2f")
        for key in ("seconds", "plain_seconds")
    ]
    texts = [_interval(np.array(each, float), groups) for each in values]
    return [str(len(rows)), *texts, f"{same} of {len(pairs)}", *ratios]


def _scored(metric: Any, found: Mapping[str, Any], row: Mapping[str, Any]) -> float:
    value = metric(apply_sign(Sign.POSITIVE, np.array(found["scores"], float), None), np.array(row["label"], float))
    return np.nan if value is None else value


def _interval(values: Float[np.ndarray, " N"], groups: np.ndarray, back: Any = np.asarray, form: str = ".1f") -> str:
    """Mean and interval, both through ``back``; what is undefined is left out."""
    kept = np.isfinite(values)
    interval = bootstrap_interval(values[kept], groups[kept]) if kept.any() else None
    low, high = (None, None) if interval is None else (float(back(interval.low)), float(back(interval.high)))
    return with_interval(float(back(values[kept].mean())) if kept.any() else None, low, high, form=form)


if __name__ == "__main__":
    main()
