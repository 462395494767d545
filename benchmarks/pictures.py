"""AtMan over the 144 image tokens of a picture beside plain forward passes of the decoder, in one process.

    python benchmarks/pictures.py [--model tiny-magma] [--repeats 5]

Form ``shifted``, row minimum ``visible``, f = 0.9, with and without kappa = 0.7. A plain pass is target logits only,
without a cache; the image encoder is in neither: it runs once per picture. Median of paired ratios with their range.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from _history import append, in_words, last_like, spread

from atman_bench import load_model
from atman_bench.datasets.scenes import ScenesConfig, load
from atman_bench.methods._engine import EngineOptions, sweep
from atman_bench.methods.atman import AtManConfig, suppressor
from atman_bench.models._base import Pass

KAPPAS = (None, 0.7)


def timed(function: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


@torch.inference_mode()
def main() -> None:
    """Parse the command line, measure, print and append a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-magma", help="a model that reads pictures (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="(default: %(default)s)")
    arguments = parser.parse_args()
    model = load_model(arguments.model, device="cpu")
    encoded = model.encode(load(ScenesConfig(n=1)).samples[0])
    edits = {
        kappa: suppressor(model, encoded, AtManConfig(kappa=kappa))(encoded.positions_of_units()) for kappa in KAPPAS
    }
    rows = encoded.target_rows.tolist()
    ratios: dict[float | None, list[float]] = {kappa: [] for kappa in KAPPAS}
    for repeat in range(arguments.repeats + 1):
        plain = statistics.median(timed(lambda: model.run(encoded, Pass(rows=rows))) for _ in range(9))
        for kappa, edit in edits.items():
            seconds = timed(lambda edit=edit: sweep(model, encoded, edit, EngineOptions()))
            if repeat:  # the first round warms up
                ratios[kappa].append(seconds / (len(encoded.units) * plain))
    settings = {"benchmark": "pictures", "model": arguments.model}
    before = last_like(settings)
    found = {}
    for kappa, values in ratios.items():
        name = "kappa none" if kappa is None else f"kappa {kappa:g}"
        found[name] = spread(values)
        words = in_words(found[name], before["ratios"][name] if before else None)
        print(f"{arguments.model}, {name}, x {len(encoded.units)} plain passes of {encoded.length} positions: {words}")
    append({"settings": settings, "ratios": found})


if __name__ == "__main__":
    main()
