"""How close approximations come to exact maps: a table of what is stored in a results folder, and no timing.

    python benchmarks/fidelity.py results/adaptive --exact atman:shifted --method adaptive --half reported

Per sample, with x the exact map and z the approximation, positive parts taken: the share of the positive relevance of x
in its best tenth that the best tenth of z holds; Spearman's rank correlation of x and z; half the L1 distance of both,
each scaled to sum 1 (0 to 1). Means x 100 with 95 % bootstrap intervals over groups. Beside them AP and AUPRC of the
approximation and of the exact map against the evidence, since a quiet map has a high AP and need be no close one.

``--half`` keeps one half of the samples, by a hash of their ids: options of ``adaptive`` were chosen on the half
``chosen`` and are reported on the half ``reported``.
"""

import argparse
import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.stats import spearmanr

from atman_bench.core.records import Status
from atman_bench.evaluation import store
from atman_bench.evaluation.scoring import dataset_name, maps_of
from atman_bench.evaluation.stored import StoredMap
from atman_bench.metrics._signs import Sign
from atman_bench.metrics._statistics import bootstrap_interval
from atman_bench.metrics.auprc import auprc
from atman_bench.metrics.average_precision import average_precision
from atman_bench.report._format import NOTHING, markdown_table, with_interval
from atman_bench.report.tables import cell_name

HALVES = {"chosen": 0, "reported": 1}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--exact", default="atman:shifted", help="the exact map (default: %(default)s)")
    parser.add_argument("--method", default="adaptive", help="what approximates it (default: %(default)s)")
    parser.add_argument("--half", choices=HALVES, help="of the samples, by a hash of their ids (default: all)")
    parser.add_argument("--out", type=Path, help="write the table here as well")
    told = parser.parse_args()
    header = (
        "dataset",
        "model",
        "method",
        "n",
        "units",
        "best tenth",
        "Spearman",
        "L1",
        "mAP",
        "exact",
        "AUPRC",
        "exact",
    )
    lines = list(table(told.results, told.exact, told.method, told.half))
    text = markdown_table(header, [":---"] * 3 + ["---:"] * (len(header) - 3), lines)
    print(text, end="")
    if told.out is not None:
        told.out.write_text(text, encoding="utf-8")


def table(results: Path, exact: str, method: str, half: str | None) -> Iterator[list[str]]:
    """A line for each variant of the method and each dataset and model that have the exact map too."""
    cells = store.cells(results)
    for truth in cells:
        if cell_name(truth.identity.method, truth.variant) != exact:
            continue
        known = {uid: stored for uid, stored in truth.maps().items() if stored.status is Status.OK}
        for cell in cells:
            if cell.identity.method != method or not cell.identity.same_experiment(truth.identity):
                continue
            pairs = [
                (known[uid], stored)
                for uid, stored in cell.maps().items()
                if uid in known and stored.status is Status.OK and (half is None or half_of(uid) == HALVES[half])
            ]
            if pairs:
                names = (dataset_name(cell.identity), cell.identity.model, cell_name(method, cell.variant))
                yield [*names, *_numbers(pairs)]


def half_of(uid: str) -> int:
    """The half of a sample: the last bit of the SHA-256 of its id."""
    return int(hashlib.sha256(uid.encode()).hexdigest(), 16) % 2


def closeness(x: Float[np.ndarray, " U"], z: Float[np.ndarray, " U"]) -> Mapping[str, float]:
    """How close an approximation z is to an exact map x; NaN where x, or for L1 z, has no positive score."""
    positive, found = np.maximum(x, 0), np.maximum(z, 0)
    tenth = max(1, round(len(x) / 10))
    best, chosen = (np.argsort(-scores, kind="stable")[:tenth] for scores in (x, z))
    missing = {"best tenth": math.nan, "Spearman": math.nan, "L1": math.nan}
    if not positive.sum() > 0:
        return missing
    return {
        "best tenth": float(positive[chosen].sum() / positive[best].sum()),
        "Spearman": float(spearmanr(x, z).statistic) if np.ptp(z) > 0 and np.ptp(x) > 0 else math.nan,
        "L1": float(np.abs(positive / positive.sum() - found / found.sum()).sum() / 2) if found.sum() > 0 else math.nan,
    }


def _numbers(pairs: list[tuple[StoredMap, StoredMap]]) -> list[str]:
    groups = np.array([exact.group for exact, _ in pairs])
    close = [closeness(np.asarray(exact.scores), np.asarray(stored.scores)) for exact, stored in pairs]
    against = [
        [metric(*maps_of(stored, Sign.POSITIVE)[0]) for stored in (found, exact)]
        for exact, found in pairs
        for metric in (average_precision, auprc)
    ]
    evidence = np.array(against, float).reshape(len(pairs), 4)
    columns = [np.array([values[name] for values in close]) for name in ("best tenth", "Spearman", "L1")]
    texts = [_text(values, groups) for values in (*columns, *evidence.T)]
    units = np.mean([len(exact.scores) for exact, _ in pairs])
    return [str(len(pairs)), f"{units:.0f}", *texts]


def _text(values: Float[np.ndarray, " N"], groups: np.ndarray) -> str:
    kept = np.isfinite(values)
    if not kept.any():
        return NOTHING
    interval = bootstrap_interval(100 * values[kept], groups[kept])
    ends = (math.nan, math.nan) if interval is None else (interval.low, interval.high)
    return with_interval(100 * float(values[kept].mean()), *ends)


if __name__ == "__main__":
    main()
