"""The engine's cost beside the naive sweep, captum and plain forward passes: same weights, prompt, target and threads.

    python benchmarks/run.py [--model pulled:smollm2-135m] [--tokens 256] [--repeats 3]

Without ``--model`` the embedded model runs on a short prompt, to notice regressions in a minute. Times are measured in
turn within one process, so that a slower moment hits all of them, and reported as the median of paired ratios with
their range. Peak memory is measured in a fresh process for each cell: resident set, reset after loading. Every run
appends a dated row to ``benchmarks/history.jsonl`` and is compared with the last one of the same settings.
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from _history import append, last_like
from captum.attr import FeatureAblation, LLMAttribution, TextTemplateInput
from transformers.utils import logging

from atman_bench import load_model
from atman_bench.attention.edit import AttentionEdit
from atman_bench.attention.similarity import suppression_factors
from atman_bench.datasets.facts import FactsConfig, load
from atman_bench.engine import EngineMode, EngineOptions, sweep
from atman_bench.models._base import ModelAdapter
from atman_bench.profiling.measure import count_tokens
from atman_bench.profiling.memory import watch_resident
from atman_bench.tensors import Encoded

TARGET_TOKENS = 3
SLOW_SHARE = 8
"""Without prefix reuse every perturbation costs the same: one in this many is run, and the time multiplied."""


@dataclass(frozen=True)
class Case:
    """One prompt with its target.

    Attributes:
        model: The adapter.
        encoded: Prompt and target.
        tokens: Length of the prompt; every token is a unit here, also one that is only a space.
        prompt: The prompt as text, for captum.
        target: The target as text.
        batch: Perturbations per pass of the naive sweep, and of the fast one it is compared with.
    """

    model: ModelAdapter
    encoded: Encoded
    tokens: int
    prompt: str
    target: str
    batch: int

    def edit(self, every: int = 1) -> AttentionEdit:
        """Form ``shifted``, row minimum ``visible``, f = 0.9, kappa none; one perturbation per token, or every n-th."""
        positions = [[position] for position in range(0, self.tokens, every)]
        return AttentionEdit(suppression_factors(positions, self.encoded.length, 0.9))


def make_case(model_name: str, tokens: int, batch: int) -> Case:
    """A prompt of exactly ``tokens`` tokens from the generated facts, and the first ``TARGET_TOKENS`` of a target."""
    model = load_model(model_name, device="cpu")
    text = " ".join(sample.prompt for sample in load(FactsConfig(n=40)).samples)
    tokenizer = model.tokenizer
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    prompt = text[: offsets[tokens - 1][1]]
    for target in (" 12 May 1931 and then some more", " Raven Lake and then some more"):
        ids = tokenizer(target, add_special_tokens=False)["input_ids"][:TARGET_TOKENS]
        encoded = model.encode_text(prompt, tokenizer.decode(ids))
        # Not so where a token is only a part of a letter, or the prompt's last token grows into the target.
        if encoded.length == tokens + TARGET_TOKENS - 1 and len(encoded.target_ids) == TARGET_TOKENS:
            return Case(model, encoded, tokens, prompt, tokenizer.decode(ids), batch)
    raise SystemExit(f"no prompt of {tokens} tokens with a target of {TARGET_TOKENS} could be cut; try another length")


@torch.inference_mode()
def plain_lean(case: Case) -> float:
    """One forward pass: target logits only, no cache."""
    return _timed(lambda: case.model.logits(dict(case.encoded.inputs), case.encoded.target_rows.tolist(), None))


@torch.inference_mode()
def plain_default(case: Case) -> float:
    """One forward pass as transformers' default has it: all logits, cache."""
    return _timed(lambda: case.model.model(case.encoded.inputs["input_ids"]))


def fast(case: Case, batch: int | None = None) -> float:
    """A whole sweep of the fast engine."""
    return _timed(lambda: sweep(case.model, case.encoded, case.edit(), EngineOptions(batch=batch)))


def naive(case: Case) -> float:
    """A whole sweep with all logits and no reuse, extrapolated from one perturbation in ``SLOW_SHARE``."""
    edit = case.edit(SLOW_SHARE)
    seconds = _timed(lambda: sweep(case.model, case.encoded, edit, EngineOptions(EngineMode.NAIVE, case.batch)))
    return seconds * case.tokens / edit.factors.shape[0]


def captum(case: Case) -> float:
    """LLMAttribution of captum with FeatureAblation over ``1 / SLOW_SHARE`` as many features, extrapolated."""
    starts = [case.encoded.offsets[p][0] for p in range(0, case.tokens, SLOW_SHARE)]
    pieces = [case.prompt[a:b] for a, b in zip(starts, [*starts[1:], len(case.prompt)], strict=True)]
    inputs = TextTemplateInput("{}" * len(pieces), values=pieces)
    attribution = LLMAttribution(FeatureAblation(case.model.model), case.model.tokenizer)
    seconds = _timed(lambda: attribution.attribute(inputs, target=case.target))
    return seconds * (1 + case.tokens) / (1 + len(pieces))


CELLS: dict[str, Callable[[Case], float]] = {
    "plain_lean": plain_lean,
    "plain_default": plain_default,
    "fast": fast,
    "fast_batch1": partial(fast, batch=1),
    "naive": naive,
    "captum": captum,
}


def _timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def peak_bytes(cell: str, arguments: tuple[str, int, int]) -> int:
    """Peak resident set of a cell above the resident set after loading and one warm-up token, in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_in_child, (cell, arguments, torch.get_num_threads()))


def _peak_in_child(cell: str, arguments: tuple[str, int, int], threads: int) -> int:
    torch.set_num_threads(threads)
    case = make_case(*arguments)
    with torch.inference_mode():
        case.model.logits({"input_ids": case.encoded.inputs["input_ids"][:, :1]}, [0], None)
    with watch_resident() as peak:
        CELLS[cell](case)
    if peak.bytes is None:
        raise SystemExit("this system does not tell peak memory: /proc/self/clear_refs is missing")
    return peak.bytes


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Time all cells in turn, and measure the memory of some."""
    settings = (arguments.model, arguments.tokens, arguments.batch)
    case = make_case(*settings)
    units, length = case.tokens, case.encoded.length
    plain_lean(case)
    times: dict[str, list[float]] = {name: [] for name in CELLS if name != "fast_batch1"}
    for repeat in range(arguments.repeats):
        for name in times:
            times[name].append(CELLS[name](case))
            sys.stderr.write(f"repeat {repeat}: {name} {times[name][-1]:.2f} s\n")
    with count_tokens(case.model.model) as counter:
        fast(case)
    ratios = {
        "fast / (U x plain lean)": [f / (units * p) for f, p in zip(times["fast"], times["plain_lean"], strict=True)],
        "naive / fast": [n / f for n, f in zip(times["naive"], times["fast"], strict=True)],
        "captum / fast": [c / f for c, f in zip(times["captum"], times["fast"], strict=True)],
    }
    peaks = {name: peak_bytes(name, settings) for name in ("plain_lean", "plain_default", "fast", "fast_batch1")}
    vocabulary = case.model.model.get_output_embeddings().weight.shape[0]
    return {
        "settings": {"model": case.model.name, "tokens": units, "batch": arguments.batch},
        "seconds": times,
        "ratios": {
            name: {"median": statistics.median(r), "min": min(r), "max": max(r), "n": len(r)}
            for name, r in ratios.items()
        },
        "forward_tokens": {
            "fast": counter.tokens,
            # The plain pass, and every perturbation from its first changed position on.
            "exact minimum": length + sum(length - u for u in range(units)),
            "naive": length * (1 + units),
        },
        "peak_bytes": peaks,
        "bytes of all logits": units * length * vocabulary * 4,
    }


def report(row: dict[str, object], before: dict[str, object] | None) -> str:
    """The row in words, beside the last one of the same settings."""
    lines = [f"{row['settings']}, {torch.get_num_threads()} threads"]
    for name, r in row["ratios"].items():
        last = f"; last time {before['ratios'][name]['median']:.2f}" if before else ""
        lines.append(f"{name}: {r['median']:.2f} ({r['min']:.2f} to {r['max']:.2f}, n = {r['n']}{last})")
    tokens = row["forward_tokens"]
    lines.append(f"forward tokens: {tokens['fast']} (exact minimum {tokens['exact minimum']}, naive {tokens['naive']})")
    for name, peak in row["peak_bytes"].items():
        lines.append(f"peak memory of {name}: {peak / 1e6:.0f} MB")
    lines.append(f"all logits would take {row['bytes of all logits'] / 1e6:.0f} MB")
    return "\n".join(lines)


def main() -> None:
    """Measure, compare with the last run of the same settings, append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-text")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8, help="perturbations per pass of the naive sweep")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    row = measure(arguments)
    print(report(row, last_like(row["settings"])))
    append(row)


if __name__ == "__main__":
    main()
