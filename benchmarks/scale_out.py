"""What the driver and the store cost where explanations cost nothing: a simulation of many workers, in one process.

    python benchmarks/scale_out.py --samples 100000 --methods 12 --workers 64 --out results/scale-out

The driver, its queue, the store and the resuming are the real ones; workers are simulated. Each message is pickled as
for a real worker, and what a worker would do (unpickle, make up a map, score nothing) is timed apart and left out. A
first run is stopped at 99 % of its explanations (items in flight are stored) and a second one goes on from there.
Times are processor time of this one process, writing included, so that they hold on a busy machine. Writes
``table.md``, ``overhead.json`` and a figure.
"""

import argparse
import json
import os
import pickle
import random
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from matplotlib.figure import Figure

from atman_bench.core.records import CharSpans, Row, Sample, Status, UnitKind
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.driver.loop import Driver
from atman_bench.evaluation.driver.pool import Done, Event, Ready
from atman_bench.evaluation.driver.worker import About, Outcome, versions
from atman_bench.evaluation.remote import Choice, Choose, Explain, Explained, ModelFacts
from atman_bench.evaluation.runner import evaluate
from atman_bench.evaluation.samples import UsableSample
from atman_bench.evaluation.stored import StoredMap, float32_list
from atman_bench.methods import METHODS
from atman_bench.report._format import markdown_table

METRICS = ("average_precision", "average_recall", "auprc")
POINTS = 40
"""Points of the figure."""


@dataclass
class SimulatedPool:
    """Workers that take no time and never fail.

    Attributes:
        size: How many.
        choice: What choosing samples gives.
        threads: Of each.
        away: Seconds of what workers would do themselves.
        items: Items that they were sent.
    """

    size: int
    choice: Choice
    threads: int = 1
    away: float = 0.0
    items: int = 0
    _events: deque[Event] = field(default_factory=deque)

    def start(self, slot: int) -> None:
        """Start at once."""
        self._events.append(Ready(slot, About("simulated", slot, versions())))

    def load(self, slot: int, ticket: int, model: Any) -> None:
        """Load nothing."""
        self._events.append(Done(slot, ticket, Outcome((), 0.0)))

    def submit(self, slot: int, ticket: int, work: Any, samples: Sequence[Any]) -> None:
        """Answer at once, through pickle."""
        message = pickle.dumps((ticket, work, samples))
        began = time.process_time()
        _, work, samples = pickle.loads(message)
        made = [self.choice] if isinstance(work, Choose) else [_explained(work, sample) for sample in samples]
        answer = pickle.dumps(Outcome(tuple(made), 0.0))
        self.away += time.process_time() - began
        self.items += 1
        self._events.append(Done(slot, ticket, pickle.loads(answer)))

    def events(self, seconds: float) -> list[Event]:
        """One at a time, as they come from workers that take turns."""
        return [self._events.popleft()] if self._events else []

    def stop(self, slot: int) -> None:
        """Nothing is at hand."""

    def kill(self, slot: int) -> None:
        """Never needed."""

    def close(self) -> None:
        """Nothing to end."""


def _explained(work: Explain, sample: UsableSample) -> Explained:
    """A map of random scores, and a row with as many values as a real one."""
    scores = float32_list([random.random() for _ in sample.label])
    stored = StoredMap(
        sample.uid, Status.OK, scores, (scores,), sample.label, group=sample.sample.group,
        target_logprobs=(-1.0,), answered=True, seconds=1.0, forward_tokens=1000,
    )  # fmt: skip
    row = Row(sample.uid, work.sign, Status.OK, dict.fromkeys(work.metrics, 0.5), n_units=len(scores), n_positive=1.0)
    return Explained(work.fingerprint, stored, row)


def _choice(samples: int, units: int) -> Choice:
    """Samples of different lengths."""
    label = (1, *[0] * (units - 1))
    usable = tuple(
        UsableSample(
            Sample(f"sample-{i:06d}", "word " * units, " target", (0, 5 * units), CharSpans(((0, 4),)), f"g{i // 10}"),
            label, None, 20 + i * 7919 % 400, 1, UnitKind.TOKEN,
        )
        for i in range(samples)
    )  # fmt: skip
    return Choice(usable, (), {}, samples, 0, "simulated", ModelFacts("simulated", "0", "float32", "simulated", False))


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        seconds: All of it.
        away: Seconds of what workers would do.
        resumed: Seconds before the first explanation was handed out.
        explanations: How many were computed.
        items: In how many items.
        points: (explanations so far, seconds so far without workers', resident bytes).
    """

    seconds: float
    away: float
    resumed: float
    explanations: int
    items: int
    points: list[tuple[int, float, int]]

    @property
    def overhead(self) -> float:
        """Seconds of the driver and the store for one explanation."""
        return (self.seconds - self.away - self.resumed) / max(1, self.explanations)


def _measure(config: RunConfig, choice: Choice, workers: int, last: int | None) -> Measured:
    pool = SimulatedPool(workers, choice)
    driver, process = Driver(pool), psutil.Process()
    points: list[tuple[int, float, int]] = []
    began, handed_out = time.process_time(), 0.0

    def progress(done: int, total: int, doing: str) -> None:
        nonlocal handed_out
        if done == 0:
            handed_out = time.process_time() - began
        if done % max(1, (last or total) // POINTS) == 0:
            points.append((done, time.process_time() - began - pool.away - handed_out, process.memory_info().rss))
        if last is not None and done >= last:
            driver.stopping = True

    summary = evaluate(config, progress, driver=driver)
    seconds = time.process_time() - began
    return Measured(seconds, pool.away, handed_out, summary.n_computed, pool.items, points)


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--methods", type=int, default=12)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--units", type=int, default=32, help="of each sample (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("results/scale-out"))
    told = parser.parse_args()
    names = [name for name in METHODS.names if name != "gradcam"][: told.methods]
    choice = _choice(told.samples, told.units)
    total = told.samples * len(names)
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(methods=tuple((name, {}) for name in names), metrics=METRICS, results=Path(folder))
        first = _measure(config, choice, told.workers, total * 99 // 100)
        second = _measure(config, choice, told.workers, None)
        stored = sum(path.stat().st_size for path in Path(folder).rglob("*.jsonl"))
    size = f"{told.samples:,} samples x {len(names)} methods x {told.workers} workers, {told.units} units"
    lines = [
        ("explanations, first run", f"{first.explanations:,}"),
        ("explanations, resumed run", f"{second.explanations:,}"),
        ("items, first run", f"{first.items:,}"),
        ("driver and store for one explanation, processor time", f"{first.overhead * 1e6:,.0f} us"),
        ("explanations a second that one driver stores", f"{1 / first.overhead:,.0f}"),
        ("resident memory at 10 % of the first run", f"{first.points[len(first.points) // 10][2] / 1e6:,.0f} MB"),
        ("resident memory at its end", f"{first.points[-1][2] / 1e6:,.0f} MB"),
        ("JSON lines stored", f"{stored / 1e6:,.0f} MB"),
        (f"processor time to resume with {first.explanations / total:.2%} stored", f"{second.resumed:,.1f} s"),
    ]
    told.out.mkdir(parents=True, exist_ok=True)
    table = markdown_table(("measured", "value"), (":---", "---:"), lines)
    machine = f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end"
    (told.out / "table.md").write_text(f"{size}; {machine}.\n\n{table}")
    content = {"size": size, "machine": machine, "first": vars(first), "second": vars(second), "stored_bytes": stored}
    (told.out / "overhead.json").write_text(json.dumps(content) + "\n")
    _draw(first, size).savefig(told.out / "overhead.png", dpi=150)
    print(f"{size}\n{table}")


def _draw(run: Measured, size: str) -> Figure:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    done = [point[0] / 1000 for point in run.points]
    time_axes.plot(done, [point[1] for point in run.points])
    time_axes.set(xlabel="explanations stored, thousands", ylabel="driver and store, s of processor", ylim=(0, None))
    memory_axes.plot(done, [point[2] / 1e6 for point in run.points])
    memory_axes.set(xlabel="explanations stored, thousands", ylabel="resident memory, MB", ylim=(0, None))
    figure.suptitle(size, fontsize=9)
    return figure


if __name__ == "__main__":
    main()
