"""Stored samples as one self-contained page: methods side by side, sorted and filtered, evidence outlined."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import rankdata

from atman_bench.core.errors import DataError
from atman_bench.metrics import METRICS
from atman_bench.report import _html
from atman_bench.report.heatmap import HeatMap
from atman_bench.report.heatmap_page import COLOURS, script_json, view_of

MOST_SAMPLES = 2000
"""What a page holds and stays quick; more are left out, and said."""

_PIXELS = 240
_DIGITS = 3


@dataclass(frozen=True)
class Browsed:
    """A sample as the page shows it.

    Attributes:
        uid: The sample's.
        group: What intervals resample.
        target: What is explained.
        answered: Whether the model gives the target itself; None where that is not known.
        maps: Method -> its map; all of the same units. Methods without one are absent.
        values: Method -> metric -> value, None where it is undefined.
        missing: Method -> why it has no map.
    """

    uid: str
    group: str
    target: str
    answered: bool | None
    maps: Mapping[str, HeatMap]
    values: Mapping[str, Mapping[str, float | None]]
    missing: Mapping[str, str]


def browse_page(
    title: str, methods: Sequence[str], floors: Sequence[str], metrics: Sequence[str], samples: Iterable[Browsed]
) -> str:
    """Write the page.

    Args:
        title: Dataset and model.
        methods: Every method, in the order of its columns.
        floors: Those of them that see no model: no part of the disagreement.
        metrics: Names of metrics.
        samples: In their order.

    Raises:
        DataError: There are none.
    """
    shown = [_record(sample, methods, floors, metrics) for sample in samples]
    if not shown:
        raise DataError("no sample has a map of these methods")
    specs = {name: METRICS.get(name) for name in metrics}
    content = {
        "methods": list(methods),
        "floors": list(floors),
        "metrics": [
            {"name": spec.heading or spec.column, "higher": spec.higher_is_better, "count": spec.is_count}
            for spec in specs.values()
        ],
        "samples": shown,
    }
    return _html.render("browse", title=title, content=script_json(content), colours=COLOURS)


def _record(sample: Browsed, methods: Sequence[str], floors: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    heats = [(method, sample.maps[method]) for method in methods if method in sample.maps]
    view = view_of(heats, _PIXELS, _DIGITS)
    for method in view["methods"]:
        del method["caption"], method["remarks"]
    if not view["image"]:
        del view["image"]
    compared = [heat.scores for name, heat in heats if name not in floors]
    return {
        "uid": sample.uid,
        "group": sample.group,
        "target": sample.target.strip(),
        "answered": sample.answered,
        "view": view,
        "values": {
            method: [_rounded(values.get(metric)) for metric in metrics] for method, values in sample.values.items()
        },
        "missing": dict(sample.missing),
        "disagreement": _rounded(disagreement(compared)),
    }


def disagreement(maps: Sequence[np.ndarray]) -> float | None:
    """1 minus the mean rank correlation of all pairs of maps (U,): 0 where all agree; None for fewer than two maps.

    Maps that give every unit the same score have no order, and are left out.
    """
    ranks = [rankdata(scores) for scores in maps if np.ptp(scores) > 0]
    pairs = [float(np.corrcoef(a, b)[0, 1]) for a, b in combinations(ranks, 2)]
    return 1 - float(np.mean(pairs)) if pairs else None


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(value, 4)
