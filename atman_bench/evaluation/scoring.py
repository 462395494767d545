"""Stored maps and labels -> rows: a function of nothing else, so that rows need no model and can be made again."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from atman_bench.core.options import build
from atman_bench.core.records import PatchUnits, Row, ScoredCell, Status, UnitKind, Units
from atman_bench.datasets import DATASETS
from atman_bench.evaluation import store
from atman_bench.evaluation.store import Cell
from atman_bench.evaluation.stored import Identity, StoredMap
from atman_bench.metrics import METRICS
from atman_bench.metrics._signs import Sign, apply_sign


def scored(cell: Cell, metrics: Sequence[str], sign: Sign, uids: Collection[str] | None = None) -> ScoredCell:
    """The rows of a cell under a sign rule, from its stored rows, and from its maps where these lack a metric.

    Needs no model and writes nothing. Samples whose maps are not kept have the metrics of their stored rows only.

    Args:
        cell: The cell.
        metrics: Names of metrics.
        sign: How signed scores become a map.
        uids: Which samples; None takes all.

    Raises:
        StoreError: The results cannot be read.
        UnknownNameError: A metric does not exist.
    """
    rows = {row.uid: row for row in cell.rows() if row.sign == sign and (uids is None or row.uid in uids)}
    if not rows or any(not current(row.values).keys() >= set(metrics) for row in rows.values()):
        for uid, stored in cell.maps().items():
            lacking = [metric for metric in metrics if uid not in rows or metric not in current(rows[uid].values)]
            if lacking and (uids is None or uid in uids):
                made = row_of(stored, lacking, sign)
                values = {**(rows[uid].values if uid in rows else {}), **made.values}
                rows[uid] = replace(made, values=values)
    return named(cell, (restricted(row, metrics) for row in rows.values()))


def current(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """A row's metrics without those of plug-ins: rows do not tell their version, so maps are scored again."""
    return {metric: value for metric, value in values.items() if METRICS.plugin(metric) is None}


def scored_folder(results: Path, metrics: Sequence[str], signs: Sequence[Sign]) -> list[ScoredCell]:
    """The rows of all cells of a results folder under some sign rules; cells with equal names are told apart.

    Raises:
        StoreError: The results cannot be read.
        UnknownNameError: A metric does not exist.
    """
    cells = store.cells(results)
    names = _distinct_names([cell.identity for cell in cells], [cell.variant for cell in cells])
    return [
        replace(scored(cell, metrics, sign), dataset=dataset, model=model, variant=variant)
        for cell, (dataset, model, variant) in zip(cells, names, strict=True)
        for sign in signs
    ]


def _distinct_names(identities: Sequence[Identity], variants: Sequence[str]) -> list[tuple[str, str, str]]:
    """Dataset, model and variant of each cell, with what differs where two have the same name."""
    names = [dataset_name(identity) for identity in identities]
    suffixes = _differences(names, [{"data": identity.dataset_hash[:6]} for identity in identities])
    datasets = [name + suffix for name, suffix in zip(names, suffixes, strict=True)]
    names = [identity.model for identity in identities]
    about = [{"type": identity.dtype, "weights": identity.model_hash[:6]} for identity in identities]
    models = [name + suffix for name, suffix in zip(names, _differences(names, about), strict=True)]
    methods = [identity.method for identity in identities]
    cells = list(zip(datasets, models, methods, variants, strict=True))
    told = [{"seed": i.seed, "version": i.method_version, "cell": i.fingerprint} for i in identities]
    return [
        (dataset, model, variant + suffix)
        for (dataset, model, _, variant), suffix in zip(cells, _differences(cells, told), strict=True)
    ]


def _differences(names: Sequence[Any], facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each name `` (seed 1)``: the first facts that tell it from others of the same name; nothing where none do."""
    distinct: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for name, about in zip(names, facts, strict=True):
        if about not in distinct[name]:
            distinct[name].append(about)
    suffixes = []
    for name, about in zip(names, facts, strict=True):
        known = distinct[name]
        chosen: list[str] = []
        for key in about:
            if len({tuple(other[k] for k in chosen) for other in known}) < len(known) and (
                len({other[key] for other in known}) > 1
            ):
                chosen.append(key)
        suffixes.append(f" ({', '.join(f'{key} {about[key]}' for key in chosen)})" if chosen else "")
    return suffixes


def named(cell: Cell, rows: Iterable[Row]) -> ScoredCell:
    """Rows with what tables call their cell."""
    identity = cell.identity
    return ScoredCell(
        identity.fingerprint, dataset_name(identity), identity.model, identity.method, cell.variant, tuple(rows)
    )


def restricted(row: Row, metrics: Sequence[str]) -> Row:
    """The row with these metrics alone, as far as it has them."""
    if row.values.keys() <= set(metrics):
        return row
    return replace(row, values={metric: row.values[metric] for metric in metrics if metric in row.values})


def row_of(stored: StoredMap, metrics: Iterable[str], sign: Sign, groups: Sequence[Sequence[int]] | None = None) -> Row:
    """The row of one stored map: a function of nothing else, so that rows which were lost can be made again.

    A sample that did not end ``ok`` has None for each metric, to be counted as missing there.

    Args:
        stored: The map.
        metrics: Names of metrics.
        sign: How signed scores become a map.
        groups: Units that are scored as one: map and label of a group are the largest of its units (chunks of a text).
            None scores every unit on its own.
    """
    label = stored.label if groups is None or not stored.label else largest(np.asarray(stored.label), groups).tolist()
    values: dict[str, float | None] = dict.fromkeys(metrics)
    if stored.status is Status.OK:
        maps = maps_of(stored, sign)
        if groups is not None:
            maps = [(largest(x, groups), largest(y, groups)) for x, y in maps]
        values = {metric: _mean_over_words(metric, maps) for metric in values}
    return Row(
        uid=stored.uid,
        sign=sign,
        status=stored.status,
        values=values,
        group=stored.group,
        n_questions=None if (count := stored.facts.get("n_questions")) is None else int(count),
        n_units=len(label),
        n_positive=sum(label),
        target_logprob=math.fsum(stored.target_logprobs) if stored.target_logprobs else None,
        answered=stored.answered,
        seconds=stored.seconds,
        forward_tokens=stored.forward_tokens,
        peak_bytes=stored.peak_bytes,
        error=stored.error,
    )


def maps_of(stored: StoredMap, sign: Sign) -> list[tuple[np.ndarray, np.ndarray]]:
    """The map x (U,) of each explained word, or of the target, with its label y (U,)."""
    per_target = None if stored.per_target is None else np.asarray(stored.per_target, np.float32)
    scores = np.asarray(stored.scores, np.float32)
    if stored.word_labels is None or stored.word_of_target is None:
        return [(apply_sign(sign, scores, per_target), np.asarray(stored.label, np.float64))]
    tokens = np.asarray(stored.word_of_target)
    return [
        (_word_map(sign, scores, per_target, tokens == word), np.asarray(label, np.float64))
        for word, label in enumerate(stored.word_labels)
    ]


def largest(values: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """The largest value (G,) of each group of units, of values (U,)."""
    return np.array([values[list(group)].max() for group in groups])


def _word_map(sign: Sign, scores: np.ndarray, per_target: np.ndarray | None, tokens: np.ndarray) -> np.ndarray:
    """The map of one word from the relevance for its tokens; a method that explains their mean only has one map."""
    if per_target is None:
        return apply_sign(sign, scores, None)
    return apply_sign(sign, per_target[tokens].mean(0), per_target[tokens])


def _mean_over_words(metric: str, maps: Sequence[tuple[np.ndarray, np.ndarray]]) -> float | None:
    """A metric of a sample: the mean over its words (A.12), or of its only map."""
    values = [METRICS.get(metric).function(x, y) for x, y in maps]
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None


def grid_facts(units: Units) -> dict[str, str]:
    """Where the patches of a picture are, as a stored map says it: "12x12", and "left,top,right,bottom" in pixels."""
    if not isinstance(units, PatchUnits):
        return {}
    return {"grid": "x".join(map(str, units.grid)), "area": ",".join(f"{edge:.10g}" for edge in units.area)}


def grid_of(stored: StoredMap, size: tuple[int, int]) -> PatchUnits | None:
    """The patches of a stored map on a picture of a size (width, height); None if it does not say where they are."""
    grid, area = str(stored.facts.get("grid", "")), str(stored.facts.get("area", ""))
    if not (grid and area):
        return None
    rows, columns = map(int, grid.split("x"))
    left, top, right, bottom = map(float, area.split(","))
    return PatchUnits((rows, columns), (left, top, right, bottom), size)


def dataset_name(identity: Identity) -> str:
    """What rows call a dataset: its name, and options that make it another experiment (``openimages (cropped)``)."""
    options = {name: value for name, value in identity.dataset_options.items() if value is not None}
    built = build(DATASETS.get(identity.dataset).config, options, f"datasets.{identity.dataset}")
    return dataset_label(identity.dataset, built, identity.units)


def dataset_label(name: str, options: Any, units: UnitKind = UnitKind.TOKEN) -> str:
    """The same for a dataset's name, its resolved options and the kind of units."""
    facts = [DATASETS.get(name).label(options), "" if units is UnitKind.TOKEN else f"unit: {units}"]
    label = ", ".join(filter(None, facts))
    return f"{name} ({label})" if label else name
