"""One long sample on several workers (``--split-perturbations``): the paper's Fig. 6 and A.1, measured and predicted.

    python benchmarks/split.py pulled:smollm2-135m=256 tiny-text=1000 --out results/scale-out

AtMan of every token, exact, one thread for each worker. Workers have loaded the model and run the sample once before;
then the time from handing out the shares until the map is there is taken, several times. Numbers of workers above the
processors of the machine are measured too, and marked (hollow dots): their threads wait for each other. Up to 64 are
predicted: each does a plain pass, the first asks for the target's log-probabilities too, and the slowest share decides;
shares are the real ones, of whole batches. The map of every number of workers is compared with that of one, bit by bit.
Writes ``split.md``, ``split.json`` and ``split.png``.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from _case import make_case
from matplotlib.figure import Figure

from atman_bench.core.records import CharSpans, Sample, UnitKind
from atman_bench.evaluation.driver.local import LocalPool
from atman_bench.evaluation.driver.loop import Driver
from atman_bench.evaluation.driver.work import Lot
from atman_bench.evaluation.remote import Explain, WorkerModel
from atman_bench.evaluation.samples import UsableSample
from atman_bench.evaluation.splitting import ExplainShare, SampleShare, SharedSweep, joined
from atman_bench.evaluation.stored import StoredMap
from atman_bench.methods._engine import Batch, Share, default_batches, end_of, first_rows
from atman_bench.methods.atman import AtManConfig, listed
from atman_bench.metrics._signs import Sign
from atman_bench.models._base import LoadOptions
from atman_bench.report._format import markdown_table

PREDICTED = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of workers."""

MOST_SHARES = 10**6
"""Of so many shares the last one has no batch: it is a plain pass, and what comes before and after."""

COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:red")


@dataclass(frozen=True)
class Case:
    """One sample, and how its perturbations are batched.

    Attributes:
        model: As workers load it.
        sample: The sample.
        batches: Of its sweep.
    """

    model: WorkerModel
    sample: UsableSample
    batches: list[Batch]

    @classmethod
    def of(cls, name: str, tokens: int) -> "Case":
        """A prompt of so many tokens."""
        case = make_case(name, tokens)
        encoded, units = case.encoded, len(case.encoded.units)
        label = (1, *[0] * (units - 1))
        sample = Sample("long", case.prompt, case.target, (0, len(case.prompt)), CharSpans(((0, 1),)), "long")
        usable = UsableSample(sample, label, None, encoded.length, len(encoded.target_ids), UnitKind.TOKEN)
        found = listed(case.model, encoded, AtManConfig())
        starts = first_rows(found.perturbations, encoded.restarts)
        batches = default_batches(starts, encoded.length, end_of(encoded))
        return cls(WorkerModel(name, LoadOptions(device="cpu"), 1), usable, batches)

    def positions(self, share: Share) -> int:
        """Positions that a share runs beside its plain pass."""
        length = self.sample.length
        return sum(batch.positions(length) for batch in share.of(self.batches, length))


@dataclass(frozen=True)
class Measured:
    """What one number of workers took.

    Attributes:
        workers: How many.
        walls: Seconds until the map was there, of each repeat.
        shares: Seconds of each share in its worker, of the median repeat.
        same: Whether the map is the undivided one, bit by bit.
    """

    workers: int
    walls: tuple[float, ...]
    shares: tuple[float, ...]
    same: bool

    @property
    def wall(self) -> float:
        """Their median."""
        return statistics.median(self.walls)


@dataclass(frozen=True)
class Rates:
    """What predictions follow from, all of one worker.

    Attributes:
        begin: Seconds of a share without a batch: listing perturbations, and a plain pass.
        answer: Seconds of the pass that asks for the target's log-probabilities.
        position: Seconds of each position of the batches.
        overhead: Seconds of sending and joining.
    """

    begin: float
    answer: float
    position: float
    overhead: float

    def predicted(self, case: Case, workers: int) -> float:
        """Seconds until the map is there: the slowest share decides."""
        shares = [case.positions(Share(index, workers)) for index in range(workers)]
        of_shares = [self.begin + (index == 0) * self.answer + self.position * n for index, n in enumerate(shares)]
        return self.overhead + max(of_shares)


@dataclass(frozen=True)
class Ran:
    """Shares that were run once.

    Attributes:
        wall: Seconds until all was there, with the map if they make one.
        parts: What they gave, in their order.
        map: The map of a complete set, without what it took.
    """

    wall: float
    parts: list[SharedSweep]
    map: StoredMap | None


def run(driver: Driver, case: Case, shares: Sequence[Share]) -> Ran:
    """Run shares, and make the map if all are there.

    Raises:
        SystemExit: One failed, or ran other batches than those that are predicted with.
    """
    work = ExplainShare(Explain(case.model, "split", "atman", AtManConfig(), 0, (), Sign.POSITIVE))
    samples = [SampleShare(case.sample, share) for share in shares]
    lot = Lot.longest_first(work, samples, work.planned_positions)
    began = time.perf_counter()
    explained = list(driver.run([lot]))
    if failed := [share.begun.error for share in explained if share.found is None]:
        raise SystemExit(f"a share failed: {failed[0]}")
    map_ = joined("atman", explained) if len(shares) == shares[0].count else None
    wall = time.perf_counter() - began
    if map_ is not None:
        map_ = replace(map_, seconds=None, forward_tokens=None, peak_bytes=None)
    in_order = sorted(explained, key=lambda share: share.share.index)
    parts = [share.found for share in in_order if share.found is not None]
    for share, part in zip(shares, parts, strict=True):
        if part.cost.forward_tokens != (expected := case.sample.length + case.positions(share)):
            raise SystemExit(f"{part.cost.forward_tokens} positions ran where {expected} were expected")
    return Ran(wall, parts, map_)


@contextmanager
def crew(workers: int) -> Iterator[Driver]:
    """Workers with one thread each."""
    driver = Driver(LocalPool(workers, 1))
    try:
        yield driver
    finally:
        driver.close()


def measure(driver: Driver, case: Case, repeats: int, undivided: StoredMap | None) -> tuple[Measured, StoredMap | None]:
    """Measure the number of workers that a driver has, and the map of it.

    Args:
        driver: The workers.
        case: The sample.
        repeats: How often.
        undivided: The map of one worker; None where this is the one.
    """
    workers = len(driver.members)
    shares = [Share(index, workers) for index in range(workers)]
    run(driver, case, shares)  # loads the models
    runs = sorted((run(driver, case, shares) for _ in range(repeats)), key=lambda one: one.wall)
    median = runs[len(runs) // 2]
    same = undivided is None or all(one.map == undivided for one in runs)
    walls, seconds = tuple(one.wall for one in runs), tuple(part.cost.seconds for part in median.parts)
    return Measured(workers, walls, seconds, same), median.map


def rates_of(driver: Driver, case: Case, whole: Measured, repeats: int) -> Rates:
    """What predictions need, of one worker: shares without a batch cost what is not divided."""
    begin, beside = {}, {}
    for index in (0, MOST_SHARES - 1):
        runs = [run(driver, case, [Share(index, MOST_SHARES)]) for _ in range(repeats)]
        begin[index] = statistics.median(one.parts[0].cost.seconds for one in runs)
        beside[index] = statistics.median(one.wall - one.parts[0].cost.seconds for one in runs)
    (first, last) = beside.values()
    each = (whole.shares[0] - begin[0]) / case.positions(Share(0, 1))
    return Rates(begin[MOST_SHARES - 1], max(0.0, first - last), each, last)


def lines_of(case: Case, measured: Sequence[Measured], rates: Rates) -> list[tuple[str, ...]]:
    """The table of one sample."""
    found = {one.workers: one for one in measured}
    lines = []
    for workers in sorted({*found, *PREDICTED}):
        predicted = rates.predicted(case, workers)
        cells = ["–"] * 3
        if one := found.get(workers):
            crowded = f" (on {os.cpu_count()} processors)" if workers > (os.cpu_count() or 1) else ""
            cells = [
                f"{one.wall:.2f} ({min(one.walls):.2f} to {max(one.walls):.2f}){crowded}",
                f"{found[1].wall / one.wall:.2f}",
                "yes" if one.same else "NO",
            ]
        speed_up = rates.predicted(case, 1) / predicted
        lines.append((str(workers), *cells, f"{predicted:.2f}", f"{speed_up:.2f}"))
    return lines


def draw(records: Sequence[Mapping[str, Any]], processors: int) -> Figure:
    """How many times as fast, over the number of workers.

    Args:
        records: The models of ``split.json``.
        processors: Of the machine: with more workers than these, dots are hollow.
    """
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    for record, color in zip(records, COLORS, strict=False):
        predicted = record["predicted"]
        axes.plot(
            [int(n) for n in predicted], [predicted["1"] / wall for wall in predicted.values()], "--", color=color
        )
        walls = {one["workers"]: statistics.median(one["walls"]) for one in record["measured"]}
        for workers, wall in walls.items():
            face = "none" if workers > processors else color
            axes.plot(workers, walls[1] / wall, "o", color=color, markerfacecolor=face)
        axes.plot([], [], "o--", color=color, label=f"{record['model']}, {record['length']} tokens")
    axes.plot(PREDICTED, PREDICTED, ":", color="gray", label="as many times as workers")
    axes.set(xscale="log", yscale="log", xlabel="workers, one thread each", ylabel="times as fast as one worker")
    axes.set_xticks(PREDICTED, [str(n) for n in PREDICTED])
    axes.set_yticks(PREDICTED, [str(n) for n in PREDICTED])
    axes.minorticks_off()
    title = f"dashes predicted; dots measured, hollow with more\nworkers than the {processors} processors"
    axes.legend(title=title, fontsize=8, title_fontsize=8)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", metavar="MODEL=TOKENS", help="a model, and how long its prompt is")
    parser.add_argument("--workers", default="1,2,4", help="measured, 1 among them (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/scale-out"))
    told = parser.parse_args(arguments)
    torch.set_num_threads(1)
    counts = sorted({1, *map(int, told.workers.split(","))})
    texts, records = [], []
    for name, _, tokens in (case.rpartition("=") for case in told.cases):
        case = Case.of(name, int(tokens))
        with crew(1) as driver:
            first, undivided = measure(driver, case, told.repeats, None)
            rates = rates_of(driver, case, first, told.repeats)
        measured = [first]
        for workers in counts[1:]:
            with crew(workers) as driver:
                measured.append(measure(driver, case, told.repeats, undivided)[0])
        positions = case.positions(Share(0, 1))
        size = f"{name}: {tokens} tokens, {len(case.sample.label)} units in {len(case.batches)} batches"
        parts = (
            f"One worker: a share without a batch (listing, a plain pass) takes {rates.begin:.3f} s, the pass for the "
            f"target's log-probabilities {rates.answer:.3f} s, all batches {rates.position * positions:.2f} s, sending "
            f"and joining {rates.overhead:.3f} s."
        )
        header = ("workers", "seconds (range)", "times as fast", "same map", "predicted, s", "times as fast, predicted")
        table = markdown_table(header, (":---", *["---:"] * 5), lines_of(case, measured, rates))
        texts.append(f"## {size}\n{parts}\n\n{table}")
        records.append(
            {
                "model": name,
                "length": case.sample.length,
                "batches": [(len(batch.perturbations), batch.start) for batch in case.batches],
                "rates": asdict(rates),
                "measured": [asdict(one) for one in measured],
                "predicted": {str(workers): rates.predicted(case, workers) for workers in PREDICTED},
            }
        )
        print(texts[-1])
    machine = f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end, median of {told.repeats} runs"
    told.out.mkdir(parents=True, exist_ok=True)
    (told.out / "split.md").write_text(f"{machine}.\n\n" + "\n".join(texts))
    (told.out / "split.json").write_text(json.dumps({"machine": machine, "models": records}) + "\n")
    draw(records, os.cpu_count() or 1).savefig(told.out / "split.png", dpi=150)


if __name__ == "__main__":
    main()
