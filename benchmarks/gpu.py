"""What explanations cost on one GPU, beside the AtMan paper's readings; needs nothing but the package and torch.

    python benchmarks/gpu.py [--seconds 480] [--output build/gpu.json]
    python benchmarks/gpu.py --tiny   # small models, anywhere: checks this script and measures nothing

Random weights in the shapes of GPT-J-6B (float16) and Llama-8B (bfloat16), random tokens, one target token, 256, 512
and 1,024 tokens: plain passes, AtMan, its gradient and two-stage forms, Chefer, input x gradient, integrated gradients.
Methods that would take longer than their part of the time explain some of the units, in runs of neighbours so that
batches are what they would be, and are scaled to all; the table marks them. Times are CUDA events', of the median
repeat.
"""

import argparse
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

# Batches of every size leave gaps that fixed segments cannot fill (docs/performance.md).
os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")

import torch
from _gpu_cells import CELLS, LENGTHS, SHAPES, TINY, TINY_LENGTHS, Cell, Shape

from atman_bench.attention import flex
from atman_bench.attention.flex import CHOICE
from atman_bench.core.errors import first_line_of
from atman_bench.core.measure import count_tokens
from atman_bench.core.memory import is_out_of_memory
from atman_bench.core.options import build as build_options
from atman_bench.core.provenance import environment
from atman_bench.core.tensors import Encoded
from atman_bench.methods import METHODS
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models.random import build
from atman_bench.profiling.cell import plain_pass
from atman_bench.report._paper_costs import paper_reading

RUN = 16
"""Neighbouring units that are sampled together."""

GOAL_SECONDS, GOAL_PEAK = 15.0, 1.10
"""All 1,024 suppressions of the 6B model; the lean engine's peak over that of a plain pass, weights included."""


@dataclass(frozen=True)
class Row:
    """What a cell took.

    Attributes:
        model: Name of the shape.
        dtype: Of its weights.
        tokens: Length of the prompt.
        cell: Name of the cell.
        status: ok, oom, error, or left out for want of time.
        units: How many of the units were perturbed; None where they are explained all at once.
        seconds: Of the median repeat, scaled to all units.
        repeats: How many.
        peak_bytes: Weights included; None on a CPU.
        passes: Forward passes over the whole input that as many positions make, scaled to all units.
        share_of_matrix_rate: Arithmetic of linear layers (without the head and attention) over what the device does in
            that time in large products.
        share_of_bandwidth: Reading the weights once in each forward pass, over what the device copies in that time.
        paper_seconds: What the paper shows.
        paper_bytes: Likewise, of the peak.
        reason: Why it did not end ok.
    """

    model: str
    dtype: str
    tokens: int
    cell: str
    status: str
    units: int | None = None
    seconds: float | None = None
    repeats: int = 0
    peak_bytes: int | None = None
    passes: float | None = None
    share_of_matrix_rate: float | None = None
    share_of_bandwidth: float | None = None
    paper_seconds: float | None = None
    paper_bytes: float | None = None
    reason: str | None = None


class Bench:
    """Measures cells of one model after the other, within a time.

    Args:
        device: Where.
        seconds: For everything.
        repeats: Of a cell that is short enough for them.
    """

    def __init__(self, device: torch.device, seconds: float, repeats: int):
        self.device = device
        self.repeats = repeats
        self.known_rates: dict[torch.dtype, tuple[float, float]] = {}
        self.ends = time.perf_counter() + seconds
        self.on_cuda = device.type == "cuda"

    @property
    def name(self) -> str:
        """What the device calls itself."""
        return torch.cuda.get_device_name(self.device) if self.on_cuda else "CPU"

    @property
    def left(self) -> float:
        """Seconds until everything should be done."""
        return self.ends - time.perf_counter()

    def timed(self, function: Callable[[], object]) -> float:
        """Seconds of one call; on a GPU between two events around it."""
        if not self.on_cuda:
            started = time.perf_counter()
            function()
            return time.perf_counter() - started
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        function()
        last.record()
        torch.cuda.synchronize(self.device)
        return first.elapsed_time(last) / 1000

    def rates(self, dtype: torch.dtype) -> tuple[float, float]:
        """Operations per second of a large product and bytes per second of a large copy, the best of a few."""
        if dtype in self.known_rates:
            return self.known_rates[dtype]
        side = 8192 if self.on_cuda else 256
        a, b = torch.randn(2, side, side, device=self.device, dtype=dtype).unbind()
        source = torch.zeros(side, side, device=self.device)
        target = torch.empty_like(source)
        product = min(self.timed(lambda: a @ b) for _ in range(6))
        copy = min(self.timed(lambda: target.copy_(source)) for _ in range(6))
        self.known_rates[dtype] = 2 * side**3 / product, 2 * source.nbytes / copy
        return self.known_rates[dtype]

    def row(self, shape: Shape, model: CausalLM, tokens: int, cell: Cell, share: float, plain: float | None) -> Row:
        """Measure one cell in about its share of the time, given what a plain pass takes."""
        weights = model.weight_bytes
        empty = Row(shape.name, model.dtype_name, tokens, cell.name, "left out")
        if shape.paper and cell.paper and (reading := paper_reading(shape.paper, *cell.paper, tokens)):
            gigabytes = reading.gigabytes
            empty = replace(
                empty, paper_seconds=reading.seconds, paper_bytes=None if gigabytes is None else gigabytes * 1e9
            )
        if share <= 0:
            return replace(empty, reason="the time was used up")
        units = units_in(tokens, share, plain) if cell.by_unit else None
        encoded = encode(model, tokens, units)
        scale = tokens / len(units) if units else 1.0
        try:
            function = function_of(cell, model, encoded)
            with attention_of(cell):
                # Kernels are chosen and compiled; of many perturbations a few will do.
                few = encode(model, tokens, units[: 2 * RUN]) if units else encoded
                function_of(cell, model, few)()
                self.start_peak()
                with count_tokens(model.model) as counter:
                    calls = Calls()
                    handle = model.model.register_forward_pre_hook(calls)
                    seconds = [self.timed(function)]
                    handle.remove()
                positions, passes = counter.tokens, calls.count
                while len(seconds) < self.repeats and sum(seconds) + seconds[0] < share:
                    seconds.append(self.timed(function))
        except Exception as error:  # one cell's error must not cost the others
            status = "oom" if is_out_of_memory(error) else "error"
            return replace(empty, status=status, reason=first_line_of(error))
        finally:
            self.clear()
        median = statistics.median(seconds)
        found = replace(
            empty,
            status="ok",
            units=len(units) if units else None,
            # The plain pass of a sweep is not one of its perturbations.
            seconds=median if plain is None or not units else plain + (median - plain) * scale,
            repeats=len(seconds),
            peak_bytes=torch.cuda.max_memory_allocated(self.device) if self.on_cuda else None,
            passes=(1 + (positions / encoded.length - 1) * scale) if units else positions / encoded.length,
        )
        if cell.passes_each is None:
            return found
        matrix_rate, copy_rate = self.rates(shape.dtype)
        operations = 2 * layer_weights(model) * positions * cell.passes_each
        read = weights * passes * cell.passes_each
        return replace(
            found,
            share_of_matrix_rate=operations / median / matrix_rate,
            share_of_bandwidth=read / median / copy_rate,
        )

    def start_peak(self) -> None:
        """Forget the peak so far."""
        if self.on_cuda:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)

    def clear(self) -> None:
        """Give back to the device what a cell or a model held, frames of its exceptions too."""
        if self.on_cuda:
            gc.collect()
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()


class Calls:
    """Counts forward passes, as a hook."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, module: torch.nn.Module, args: tuple[object, ...]) -> None:
        """One more."""
        self.count += 1


def units_in(tokens: int, share: float, plain: float | None) -> list[int]:
    """Units that can be perturbed in a share of the time if each takes a plain pass: all, or evenly spaced runs."""
    affordable = tokens if plain is None else int(share / 2 / plain)
    runs = max(2, affordable // RUN)
    if runs * RUN >= tokens:
        return list(range(tokens))
    # The middle of each of equal stretches: a restart there costs what the stretch costs on average.
    starts = [int((i + 0.5) * tokens / runs) - RUN // 2 for i in range(runs)]
    return [start + i for start in starts for i in range(RUN)]


def encode(model: CausalLM, tokens: int, units: list[int] | None) -> Encoded:
    """Random tokens and one target token, as in the paper's protocol; None makes every token a unit."""
    generator = torch.Generator().manual_seed(tokens)
    *prompt, target = torch.randint(0, model.vocab_size, (tokens + 1,), generator=generator).tolist()
    return model.encode_ids(prompt, [target], None if units is None else [[unit] for unit in units])


def function_of(cell: Cell, model: CausalLM, encoded: Encoded) -> Callable[[], object]:
    """What is measured."""
    if cell.method == "plain":
        return lambda: plain_pass(cell.options["variant"], model, encoded)
    spec = METHODS.get(cell.method)
    options = build_options(spec.config, dict(cell.options), f"methods.{cell.method}")
    return lambda: spec.explain(model, encoded, options, 0)


@contextmanager
def attention_of(cell: Cell) -> Iterator[None]:
    """Attention as the package chooses it, or in blocks."""
    token = CHOICE.set(lambda inputs: None) if cell.blocks else None
    try:
        yield
    finally:
        if token is not None:
            CHOICE.reset(token)


def layer_weights(model: CausalLM) -> int:
    """Weights of all matrices that every position is multiplied with: those of the layers, without embeddings."""
    decoder = model.model
    embeddings = {id(module.weight) for module in (decoder.get_input_embeddings(), decoder.get_output_embeddings())}
    return sum(p.numel() for p in decoder.parameters() if p.ndim == 2 and id(p) not in embeddings)


def measure(shapes: tuple[Shape, ...], lengths: tuple[int, ...], bench: Bench) -> Iterator[Row]:
    """All rows, the longest inputs first; each cell gets an equal part of the time that is left."""
    todo = len(shapes) * len(lengths) * len(CELLS)
    for shape in shapes:
        model = CausalLM(shape.name, build(shape.config, shape.dtype, bench.device), None, shape.name)
        for tokens in lengths:
            plain = None
            for cell in CELLS:
                row = bench.row(shape, model, tokens, cell, bench.left / todo, plain)
                if cell.name == "plain, lean":
                    plain = row.seconds
                todo -= 1
                yield row
        del model
        bench.clear()


ATMAN = "AtMan and adaptive: form shifted, row minimum visible, f = 0.9, kappa none"
"""The options of all cells, the methods' own defaults."""

HEADER = "| model | tokens | | units | seconds | paper | peak GB | paper | passes | matrix rate | bandwidth |"


def line_of(row: Row) -> str:
    """A row of the table."""

    def number(value: float | None, form: str, per: float = 1) -> str:
        return "" if value is None else format(value / per, form)

    seconds = number(row.seconds, ".3g") if row.status == "ok" else f"{row.status}: {row.reason}"
    units = "" if row.units is None else f"{row.units}" + (" (scaled)" if row.units < row.tokens else "")
    columns = (
        f"{row.model}, {row.dtype}",
        str(row.tokens),
        row.cell,
        units,
        seconds,
        number(row.paper_seconds, ".3g"),
        number(row.peak_bytes, ".2f", 1e9),
        number(row.paper_bytes, ".1f", 1e9),
        number(row.passes, ".1f"),
        number(row.share_of_matrix_rate, ".0%"),
        number(row.share_of_bandwidth, ".0%"),
    )
    return f"| {' | '.join(columns)} |"


def goals(rows: list[Row]) -> list[str]:
    """What was aimed at beside what was measured; nothing where it was not measured."""
    found = {row.cell: row for row in rows if (row.model, row.tokens, row.status) == ("GPT-J-6B", 1024, "ok")}
    lines = []
    if (fast := found.get("AtMan fast")) and fast.seconds is not None:
        verdict = "met" if fast.seconds <= GOAL_SECONDS else "missed"
        lines.append(f"goal {verdict}: 1,024 suppressions in {fast.seconds:.1f} s, at most {GOAL_SECONDS:g} s")
    plain, lean = found.get("plain, default"), found.get("AtMan lean")
    if plain and lean and plain.peak_bytes and lean.peak_bytes:
        ratio = lean.peak_bytes / plain.peak_bytes
        verdict = "met" if ratio <= GOAL_PEAK else "missed"
        lines.append(f"goal {verdict}: peak of lean {ratio:.2f} x a plain pass, at most {GOAL_PEAK:.2f} x")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, measure, print the table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=480, help="for everything (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of a short cell (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("build/gpu.json"), help="(default: %(default)s)")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(default: %(default)s)"
    )
    parser.add_argument("--tiny", action="store_true", help="two small models, in seconds")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type != "cuda" and not options.tiny:
        raise SystemExit("these models need a GPU, and PyTorch finds none: --tiny runs small ones on a CPU")
    bench = Bench(device, options.seconds, options.repeats)
    shapes, lengths = (TINY, TINY_LENGTHS) if options.tiny else (SHAPES, LENGTHS)
    rows = []
    print(f"{bench.name}\n{ATMAN}\n\n{HEADER}\n|{' --- |' * (HEADER.count('|') - 1)}")
    for row in measure(shapes, lengths, bench):
        rows.append(row)
        print(line_of(row), flush=True)
    print("\n".join(goals(rows)))
    for reason in flex._refused:
        sys.stderr.write(f"attention was not fused: {reason}\n")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(device=str(device), threads=torch.get_num_threads()),
        "device_name": bench.name,
        "settings": {
            "seconds": options.seconds,
            "tiny": options.tiny,
            "allocator": os.environ["PYTORCH_ALLOC_CONF"],
            "atman": ATMAN,
        },
        "rates": {
            str(dtype): {"operations_per_second": product, "bytes_per_second": copy}
            for dtype, (product, copy) in bench.known_rates.items()
        },
        "fused_attention_refused": list(flex._refused),
        "rows": [asdict(row) for row in rows],
    }
    options.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
