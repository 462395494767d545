"""The engine's cost beside the naive sweep, captum, inseq and plain passes: same weights, prompt, target, threads.

    python benchmarks/run.py [--model pulled:smollm2-135m] [--tokens 512] [--repeats 3] [--slow-share 32]

Without ``--model`` the embedded model runs on a short prompt, to notice regressions in a minute. Times are measured in
turn in one run, so that a slower moment hits all of them, and reported as the median of paired ratios with their range.
Where every perturbation costs the same, one in ``--slow-share`` is run and the time multiplied. Peak memory is measured
in a fresh process for each cell: resident set, reset after loading. inseq's requirements contradict ours; it runs in an
environment of its own (``make bench-inseq``), and is left out, which the row says, where that is not there. Every run
appends a dated row to ``benchmarks/history.jsonl`` and is compared with the last one of the same settings.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _case import Case, make_case
from _history import append, in_words, is_worse, last_like, spread
from captum.attr import FeatureAblation, LLMAttribution, TextTemplateInput
from transformers.utils import logging

from atman_bench.core.measure import count_tokens
from atman_bench.methods import METHODS
from atman_bench.methods._engine import EngineMode, EngineOptions, sweep
from atman_bench.methods.integrated_gradients import IntegratedGradientsConfig
from atman_bench.profiling.memory import watch_resident

ROOT = Path(__file__).parents[1]
INSEQ_PYTHON = ROOT / ".venv-inseq" / "bin" / "python"

NAIVE_BATCH = 8
"""Perturbations per pass of the naive sweep."""

STEPS = 3
"""Of integrated gradients: cost grows with them alike in both libraries."""

PRODUCT = 2048
"""Size of the square matrices whose product shows what the machine can reach."""


@torch.inference_mode()
def plain_lean(case: Case, every: int = 1) -> object:
    """One forward pass: target logits only, no cache."""
    return case.model.logits(dict(case.encoded.inputs), case.encoded.target_rows.tolist(), None)


@torch.inference_mode()
def plain_default(case: Case, every: int = 1) -> object:
    """One forward pass as transformers' default has it: all logits, cache."""
    return case.model.model(case.encoded.inputs["input_ids"])


def fast(case: Case, every: int = 1, batch: int | None = None) -> object:
    """A sweep of the fast engine."""
    return sweep(case.model, case.encoded, case.suppression(every), EngineOptions(batch=batch))


def naive(case: Case, every: int = 1) -> object:
    """A sweep with all logits and no reuse."""
    return sweep(case.model, case.encoded, case.suppression(every), EngineOptions(EngineMode.NAIVE, NAIVE_BATCH))


def captum(case: Case, every: int = 1) -> object:
    """LLMAttribution of captum with FeatureAblation, over features of ``every`` tokens."""
    starts = [case.encoded.offsets[position][0] for position in range(0, case.tokens, every)]
    pieces = [case.prompt[a:b] for a, b in zip(starts, [*starts[1:], len(case.prompt)], strict=True)]
    inputs = TextTemplateInput("{}" * len(pieces), values=pieces)
    attribution = LLMAttribution(FeatureAblation(case.model.model), case.model.tokenizer)
    return attribution.attribute(inputs, target=case.target)


def integrated_gradients(case: Case, every: int = 1) -> object:
    """Our integrated gradients of all targets."""
    options = IntegratedGradientsConfig(n_steps=STEPS)
    return METHODS.get("integrated_gradients").explain(case.model, case.encoded, options, 0)


CELLS: dict[str, Callable[[Case, int], object]] = {
    "plain_lean": plain_lean,
    "plain_default": plain_default,
    "fast": fast,
    "fast_batch1": partial(fast, batch=1),
    "naive": naive,
    "captum": captum,
    "integrated_gradients": integrated_gradients,
}

TIMED = "plain_lean", "plain_default", "fast", "naive", "captum", "integrated_gradients"

SHORTEST_SECONDS = 3.0
"""A cell that takes less is repeated, and the mean counts: a machine's speed drifts, and one plain pass beside a sweep
of minutes would measure a moment of it."""

SLOW = "naive", "captum"
"""Every perturbation of these costs the same, plus a plain pass."""


@dataclass(frozen=True)
class Ratio:
    """Two times that are compared.

    Attributes:
        above: Name of a time.
        below: Name of another.
        per_unit: The one below counts once for every unit.
    """

    above: str
    below: str
    per_unit: bool = False

    def __str__(self) -> str:
        return f"{self.above} / (U x {self.below})" if self.per_unit else f"{self.above} / {self.below}"

    @property
    def lower_is_better(self) -> bool:
        """Ours is above something else's, and not below it."""
        return self.above == "fast"


RATIOS = (
    Ratio("fast", "plain_lean", per_unit=True),
    Ratio("fast", "plain_default", per_unit=True),
    Ratio("naive", "fast"),
    Ratio("captum", "fast"),
    Ratio("inseq_occlusion", "fast"),
    Ratio("inseq_integrated_gradients", "integrated_gradients"),
)


def timed(name: str, case: Case, slow_share: int) -> float:
    """Seconds of a cell, the mean of a few short ones; of a slow one scaled from one perturbation in ``slow_share``."""
    every = slow_share if name in SLOW else 1
    started, runs = time.perf_counter(), 0
    while not runs or time.perf_counter() - started < SHORTEST_SECONDS:
        CELLS[name](case, every)
        runs += 1
    seconds = (time.perf_counter() - started) / runs
    return seconds * (1 + case.tokens) / (1 + len(range(0, case.tokens, every)))


def product_rate() -> float:
    """Operations per second of a large matrix product: the best of a few."""
    a, b = torch.randn(2, PRODUCT, PRODUCT).unbind()
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - started)
    return 2 * PRODUCT**3 / best


def layer_weights(case: Case) -> int:
    """Weights of all matrices that every position is multiplied with: those of the layers, without embeddings."""
    model = case.model.model
    embeddings = {id(module.weight) for module in (model.get_input_embeddings(), model.get_output_embeddings())}
    return sum(p.numel() for p in model.parameters() if p.ndim == 2 and id(p) not in embeddings)


def peak_bytes(cell: str, arguments: tuple[str, int], every: int) -> int:
    """Peak resident set of a cell above the resident set after loading and one warm-up token, in a fresh process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["captum.attr", "atman_bench.methods"])  # importing these takes longer than a cell
    with context.Pool(1) as pool:
        return pool.apply(_peak_in_child, (cell, arguments, every, torch.get_num_threads()))


def _peak_in_child(cell: str, arguments: tuple[str, int], every: int, threads: int) -> int:
    torch.set_num_threads(threads)
    case = make_case(*arguments)
    with torch.inference_mode():
        case.model.logits({"input_ids": case.encoded.inputs["input_ids"][:, :1]}, [0], None)
    with watch_resident() as peak:
        CELLS[cell](case, every)
    if peak.bytes is None:
        raise SystemExit("this system does not tell peak memory: /proc/self/clear_refs is missing")
    return peak.bytes


@dataclass(frozen=True)
class Inseq:
    """inseq in its own environment, a process for every measurement.

    Attributes:
        python: The environment's interpreter.
        model: As ``load_model`` takes it.
        tokens: Length of the prompt.
        amounts: For each method tokens hidden at a time, or steps.
    """

    python: Path
    model: str
    tokens: int
    amounts: dict[str, int]

    def measure(self, method: str, *options: str) -> dict[str, Any]:
        """What ``inseq_cell.py`` prints."""
        settings = [self.model, str(self.tokens), str(torch.get_num_threads()), method, str(self.amounts[method])]
        command = [str(self.python), str(ROOT / "benchmarks" / "inseq_cell.py"), *settings, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"inseq failed:\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Time all cells in turn, and measure the memory of each."""
    case = make_case(arguments.model, arguments.tokens)
    units, length, share = case.tokens, case.encoded.length, arguments.slow_share
    amounts = {"occlusion": share, "integrated_gradients": STEPS}
    inseq = Inseq(arguments.inseq_python, arguments.model, units, amounts) if arguments.inseq_python.exists() else None
    plain_lean(case)
    integrated_gradients(case)
    times: dict[str, list[float]] = {name: [] for name in TIMED}
    rates, versions = [], set()

    def note(name: str, seconds: float) -> None:
        times.setdefault(name, []).append(seconds)
        sys.stderr.write(f"repeat {len(times[name])}: {name} {seconds:.3g} s\n")

    for _ in range(arguments.repeats):
        rates.append(product_rate())
        for name in TIMED:
            note(name, timed(name, case, share))
        for method in amounts if inseq else ():
            found = inseq.measure(method)
            versions.add(found["version"])
            note(f"inseq_{method}", found["seconds"])
    with count_tokens(case.model.model) as counter:
        fast(case)
    forward_tokens = {
        "fast": counter.tokens,
        # The plain pass, and every perturbation from its first changed position on.
        "exact minimum": length + sum(length - unit for unit in range(units)),
        "naive": length * (1 + units),
    }
    operations = {"plain_lean": 2 * layer_weights(case) * length, "fast": 2 * layer_weights(case) * counter.tokens}
    # Of a slow sweep one batch is enough; others peak at one of their passes, and have to run whole.
    every = {"naive": max(1, units // NAIVE_BATCH), "captum": units // 2, "fast_batch1": share}
    peaks = {name: peak_bytes(name, (arguments.model, units), every.get(name, 1)) for name in CELLS}
    if inseq:
        peaks |= {f"inseq_{method}": inseq.measure(method, "--peak")["peak_bytes"] for method in amounts}
    vocabulary = case.model.model.get_output_embeddings().weight.shape[0]
    return {
        "settings": {
            "model": case.model.name,
            "tokens": units,
            "slow_share": share,
            "threads": torch.get_num_threads(),
            "steps": STEPS,
        },
        "seconds": times,
        "ratios": {
            str(ratio): spread(
                [
                    a / (b * units if ratio.per_unit else b)
                    for a, b in zip(times[ratio.above], times[ratio.below], strict=True)
                ]
            )
            for ratio in RATIOS
            if ratio.above in times
        },
        "product_rate": spread(rates),
        "share_of_product_rate": {
            name: spread([flops / seconds / rate for seconds, rate in zip(times[name], rates, strict=True)])
            for name, flops in operations.items()
        },
        "forward_tokens": forward_tokens,
        "peak_bytes": peaks,
        "bytes of all logits": units * length * vocabulary * 4,
        "inseq": " ".join(versions)
        if inseq
        else f"left out: no {arguments.inseq_python.name} with inseq; `make bench-inseq` makes it",
    }


def report(row: dict[str, Any], before: dict[str, Any] | None) -> list[str]:
    """The row in words, beside the last one of the same settings."""
    lines = [", ".join(f"{name} {value}" for name, value in row["settings"].items()), f"inseq {row['inseq']}"]
    for group, unit in (("ratios", ""), ("share_of_product_rate", " share of the matrix-product rate")):
        known = before[group] if before else {}
        lines += [f"{name}{unit}: {in_words(found, known.get(name))}" for name, found in row[group].items()]
    lines.append(f"rate of a {PRODUCT}^3 product: {row['product_rate']['median'] / 1e9:.0f} GFLOP/s")
    tokens = row["forward_tokens"]
    lines.append(f"forward tokens: {tokens['fast']} (exact minimum {tokens['exact minimum']}, naive {tokens['naive']})")
    lines += [f"peak memory of {name}: {peak / 1e6:.0f} MB" for name, peak in row["peak_bytes"].items()]
    lines.append(f"all logits would take {row['bytes of all logits'] / 1e6:.0f} MB")
    known = before["ratios"] if before else {}
    lines += [
        f"warning: {ratio} became worse by more than the spread of both runs"
        for ratio in RATIOS
        if (name := str(ratio)) in known
        and name in row["ratios"]
        and is_worse(row["ratios"][name], known[name], lower_is_better=ratio.lower_is_better)
    ]
    return lines


def main() -> None:
    """Measure, compare with the last run of the same settings, append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-text", help="(default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=256, help="length of the prompt (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument(
        "--slow-share", type=int, default=32, help="of naive, captum and inseq one in so many (default: %(default)s)"
    )
    parser.add_argument("--inseq-python", type=Path, default=INSEQ_PYTHON, help="(default: %(default)s)")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    row = measure(arguments)
    print("\n".join(report(row, last_like(row["settings"]))))
    append(row)


if __name__ == "__main__":
    main()
