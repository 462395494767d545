"""AtMan over the 144 image tokens of a picture beside plain forward passes of the decoder, in one process.

    python benchmarks/pictures.py [--model tiny-magma] [--repeats 5]
    python benchmarks/pictures.py --tokens 20 [--model photo-magma --dataset caltech101 --data FOLDER]

Form ``shifted``, row minimum ``visible``, f = 0.9, with and without kappa = 0.7. A plain pass is target logits only,
without a cache; the image encoder is in neither: it runs once per picture. Median of paired ratios with their range.

``--tokens`` measures nothing: it counts forward tokens of so many pictures, as a share of a full pass for each unit: of
perturbations alone (the exact minimum), in the default batches, and in batches that hold equal starts only (slack 0).
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from _history import append, in_words, last_like, spread

from atman_bench import load_model
from atman_bench.datasets import DATASETS
from atman_bench.datasets.scenes import ScenesConfig, load
from atman_bench.evaluation.config import RunConfig, load_config
from atman_bench.evaluation.samples import select
from atman_bench.methods._engine import EngineOptions, end_of, first_rows, planned_tokens, sweep
from atman_bench.methods.atman import AtManConfig, suppressor
from atman_bench.models._base import ModelAdapter, Pass

KAPPAS = (None, 0.7)


def timed(function: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def count_shares(model: ModelAdapter, config: RunConfig) -> None:
    """Print forward tokens of a run's samples as shares of U full passes."""
    dataset = DATASETS.get(config.dataset).load(config.dataset_options)
    samples = [item.encoded for item in select(model, dataset, config).samples]
    for kappa in KAPPAS:
        full = least = batched = equal = 0
        for encoded in samples:
            units = encoded.positions_of_units()
            edits, _ = suppressor(model, encoded, AtManConfig(kappa=kappa))(units).distinct()
            starts, length, end = first_rows(edits, encoded.restarts), encoded.length, end_of(encoded)
            full += len(units) * length
            least += sum(length - start for start in starts if start < end)
            batched += planned_tokens(starts, length, end)
            equal += planned_tokens(starts, length, end, slack=0)
        print(
            f"{config.dataset}, {len(samples)} samples, kappa {kappa}, forward tokens / (U x S): least "
            f"{least / full:.3f}, in batches {batched / full:.3f}, in batches of equal starts {equal / full:.3f}"
        )


@torch.inference_mode()
def main() -> None:
    """Parse the command line, measure, print and append a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-magma", help="a model that reads pictures (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--tokens", type=int, metavar="N", help="count forward tokens of N pictures instead")
    parser.add_argument("--dataset", default="scenes", help="of these pictures (default: %(default)s)")
    parser.add_argument("--data", help="what the dataset reads")
    arguments = parser.parse_args()
    model = load_model(arguments.model, device="cpu")
    if arguments.tokens:
        flags = {name: getattr(arguments, name) for name in ("model", "dataset", "data")}
        count_shares(model, load_config(None, {**flags, "limit": arguments.tokens, "methods": ["atman"]}, []))
        return
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
