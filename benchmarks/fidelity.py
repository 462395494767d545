"""How close approximations come to exact maps, and for which time: a table of what is stored in a results folder.

    python benchmarks/fidelity.py results/adaptive --exact atman:shifted --method adaptive --half reported

Per sample, with x the exact map and z the approximation, positive parts taken: the share of the positive relevance of
x in its best tenth that the best tenth of z holds; the share of all positive relevance of x on verified units, where z
is x but for rounding; Spearman's rank correlation of x and z; half the L1 distance of both, each scaled to sum 1 (0 to
1). Means x 100 with 95 % bootstrap intervals over groups. Beside them AP and AUPRC of the approximation and of the
exact map against the evidence, since a quiet map has a high AP and need be no close one. *best order* is what as many
exact suppressions verify in the order of the exact scores, *over 95* the share of samples with at least 95 % verified,
*tokens* the mean ratio of forward tokens (backward passes not counted), all x 100. *time* is the median of the samples'
ratios of wall times, approximation by exact map, where both are of one run; other processes blur it.

``--half`` keeps one half of the samples, by a hash of their ids: options of ``adaptive`` were chosen on the half
``chosen`` and are reported on the half ``reported``. ``--figure`` draws the first two against the budget, and what as
many exact suppressions verify in the order of the exact scores, and in random order (the expected share).
"""

import argparse
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from atman_bench.core.images import reduce_colours
from atman_bench.core.records import Status
from atman_bench.evaluation import store
from atman_bench.evaluation.scoring import dataset_name, maps_of
from atman_bench.evaluation.store import Cell
from atman_bench.evaluation.stored import StoredMap
from atman_bench.methods import METHODS
from atman_bench.metrics._signs import Sign
from atman_bench.metrics._statistics import bootstrap_interval
from atman_bench.metrics.auprc import auprc
from atman_bench.metrics.average_precision import average_precision
from atman_bench.report._format import NOTHING, markdown_table, with_interval
from atman_bench.report.figures._base import STYLE, WIDTH
from atman_bench.report.tables import cell_name

HALVES = {"chosen": 0, "reported": 1}
MEASURES = ("best tenth", "verified", "Spearman", "L1")
CURVES = {"best tenth": "-", "verified": "-", "verified, best order": ":", "verified, random order": "--"}

ENOUGH = 0.95
"""What ``fidelity=0.95`` asks for."""

Pairs = Sequence[tuple[StoredMap, StoredMap]]
"""Exact maps and their approximations, of the same samples."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--exact", default="atman:shifted", help="the exact map (default: %(default)s)")
    parser.add_argument("--method", default="adaptive", help="what approximates it (default: %(default)s)")
    parser.add_argument("--half", choices=HALVES, help="of the samples, by a hash of their ids (default: all)")
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--figure", type=Path, help="draw the curve over budgets here (PNG)")
    told = parser.parse_args()
    header = (
        "dataset",
        "model",
        "method",
        "n",
        "units",
        *MEASURES,
        "mAP",
        "exact",
        "AUPRC",
        "exact",
        "best order",
        "over 95",
        "tokens",
        "time",
    )
    found = list(approximations(told.results, told.exact, told.method, told.half))
    lines = [[*names(cell), *_numbers(pairs)] for cell, pairs in found]
    text = markdown_table(header, [":---"] * 3 + ["---:"] * (len(header) - 3), lines)
    print(text, end="")
    if told.out is not None:
        told.out.write_text(text, encoding="utf-8")
    if told.figure is not None:
        draw(found, told.figure)


def approximations(results: Path, exact: str, method: str, half: str | None) -> Iterator[tuple[Cell, Pairs]]:
    """Each variant of the method on each dataset and model that have the exact map too, with the maps of both."""
    cells = store.cells(results)
    for truth in cells:
        if cell_name(truth.identity.method, truth.variant) != exact:
            continue
        known = {uid: stored for uid, stored in truth.maps().items() if stored.status is Status.OK}
        for cell in cells:
            if cell.identity.method != method or not cell.identity.same_experiment(truth.identity):
                continue
            if cell.identity.method_version != METHODS.get(method).version:
                continue  # of an earlier version of the method
            pairs = [
                (known[uid], stored)
                for uid, stored in cell.maps().items()
                if uid in known and stored.status is Status.OK and (half is None or half_of(uid) == HALVES[half])
            ]
            if pairs:
                yield cell, pairs


def names(cell: Cell) -> tuple[str, str, str]:
    """Dataset, model and method of a cell."""
    return dataset_name(cell.identity), cell.identity.model, cell_name(cell.identity.method, cell.variant)


def half_of(uid: str) -> int:
    """The half of a sample: the last bit of the SHA-256 of its id."""
    return int(hashlib.sha256(uid.encode()).hexdigest(), 16) % 2


def closeness(x: Float[np.ndarray, " U"], z: Float[np.ndarray, " U"]) -> Mapping[str, float]:
    """How close an approximation z is to an exact map x; NaN where x, or for L1 z, has no positive score.

    Batches of other shapes round otherwise: a verified score may differ by 1e-3 of itself. Scores so small that
    rounding is more than that do not count as verified, and hold next to nothing.
    """
    positive, found = np.maximum(x, 0), np.maximum(z, 0)
    if not positive.sum() > 0:
        return dict.fromkeys((*MEASURES, *CURVES), math.nan)
    tenth = max(1, round(len(x) / 10))
    best, chosen = (np.argsort(-scores, kind="stable")[:tenth] for scores in (x, z))
    verified = np.isclose(z, x, rtol=1e-3, atol=0)
    oracle = np.sort(positive)[::-1][: verified.sum()]
    return {
        "best tenth": float(positive[chosen].sum() / positive[best].sum()),
        "verified": float(positive[verified].sum() / positive.sum()),
        "verified, best order": float(oracle.sum() / positive.sum()),
        "verified, random order": float(verified.mean()),
        "Spearman": float(spearmanr(x, z).statistic) if np.ptp(z) > 0 and np.ptp(x) > 0 else math.nan,
        "L1": float(np.abs(positive / positive.sum() - found / found.sum()).sum() / 2) if found.sum() > 0 else math.nan,
    }


def _numbers(pairs: Pairs) -> list[str]:
    groups = np.array([exact.group for exact, _ in pairs])
    close = _closeness(pairs)
    against = [
        [metric(*maps_of(stored, Sign.POSITIVE)[0]) for stored in (found, exact)]
        for exact, found in pairs
        for metric in (average_precision, auprc)
    ]
    evidence = np.array(against, float).reshape(len(pairs), 4)
    texts = [_text(values, groups) for values in (*(close[name] for name in MEASURES), *evidence.T)]
    units = np.mean([len(exact.scores) for exact, _ in pairs])
    same_run = [(exact, found) for exact, found in pairs if exact.environment == found.environment]
    times = [found.seconds / exact.seconds for exact, found in same_run if found.seconds and exact.seconds]
    known = ~np.isnan(close["verified"])
    tokens = [found.forward_tokens / exact.forward_tokens for exact, found in pairs if exact.forward_tokens]
    shares = (close["verified, best order"][known], close["verified"][known] >= ENOUGH, np.array(tokens))
    percent = [f"{100 * share.mean():.1f}" if share.size else NOTHING for share in shares]
    return [str(len(pairs)), f"{units:.0f}", *texts, *percent, f"{np.median(times):.2f}" if times else NOTHING]


def _closeness(pairs: Pairs) -> Mapping[str, Float[np.ndarray, " N"]]:
    found = [closeness(np.asarray(exact.scores), np.asarray(stored.scores)) for exact, stored in pairs]
    return {name: np.array([values[name] for values in found]) for name in found[0]}


def draw(found: Iterable[tuple[Cell, Pairs]], path: Path) -> None:
    """A panel for each dataset and model: shares of the exact map over the budget, with 95 % intervals."""
    panels: dict[tuple[str, str], dict[float, Pairs]] = {}
    for cell, pairs in found:
        options = cell.identity.method_options
        if options == {**options, "proposal": "gradient", "fidelity": None, "seconds": None}:
            panels.setdefault(names(cell)[:2], {})[float(options["budget"])] = pairs
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.4 * math.ceil(len(panels) / 2)), layout="constrained")
        for axis, (title, by_budget) in zip(
            np.ravel(figure.subplots(math.ceil(len(panels) / 2), 2, sharey=True)), panels.items(), strict=False
        ):
            _panel(axis, dict(sorted(by_budget.items())))
            axis.set_title(f"{title[0]}\n{title[1]}, n = {max(map(len, by_budget.values()))}")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
        for axis in figure.axes[len(panels) :]:
            axis.remove()
        figure.supxlabel("budget: share of the exact sweep's forward tokens", fontsize=9)
        figure.supylabel("share of the exact map's positive relevance", fontsize=9)
        figure.savefig(path)
    reduce_colours(path)


def _panel(axis: Axes, by_budget: Mapping[float, Pairs]) -> None:
    budgets = list(by_budget)
    for (name, line), colour in zip(CURVES.items(), ("#0072B2", "#D55E00", "0.3", "0.5"), strict=True):
        means, lows, highs = [], [], []
        for pairs in by_budget.values():
            values = _closeness(pairs)[name]
            kept = np.isfinite(values)
            interval = bootstrap_interval(values[kept], np.array([exact.group for exact, _ in pairs])[kept])
            means.append(values[kept].mean())
            lows.append(means[-1] if interval is None else interval.low)
            highs.append(means[-1] if interval is None else interval.high)
        axis.plot(budgets, means, line, color=colour, marker="os+x"[list(CURVES).index(name)], label=name, markersize=4)
        if name in MEASURES:
            axis.fill_between(budgets, lows, highs, color=colour, alpha=0.2, linewidth=0)
    axis.set_ylim(0, 1.03)
    axis.set_xlim(0, max(budgets) + 0.03)


def _text(values: Float[np.ndarray, " N"], groups: np.ndarray) -> str:
    kept = np.isfinite(values)
    if not kept.any():
        return NOTHING
    interval = bootstrap_interval(100 * values[kept], groups[kept])
    ends = (math.nan, math.nan) if interval is None else (interval.low, interval.high)
    return with_interval(100 * float(values[kept].mean()), *ends)


if __name__ == "__main__":
    main()
