"""An evaluation of given samples whose results are rows in memory: no results folder, no fingerprints."""

from collections.abc import Sequence
from dataclasses import replace

from atman_bench.core.errors import NotApplicableError, one_line
from atman_bench.core.records import Row, ScoredCell, Status
from atman_bench.datasets._base import Dataset
from atman_bench.evaluation.config import MethodCell, RunConfig
from atman_bench.evaluation.driver.report import Progress
from atman_bench.evaluation.explaining import derived_seed, ended, explain_sample
from atman_bench.evaluation.samples import PreparedSample, select
from atman_bench.evaluation.scoring import row_of
from atman_bench.evaluation.stored import StoredMap
from atman_bench.models._base import ModelAdapter


def evaluate_samples(
    adapter: ModelAdapter, name: str, dataset: Dataset, config: RunConfig, progress: Progress
) -> list[ScoredCell]:
    """Explain samples by each method of a run, and score the maps.

    Args:
        adapter: The model.
        name: What tables call the dataset.
        dataset: The samples.
        config: Methods, metrics, sign, seed and limit.
        progress: Called before each explanation and once at the end.

    Raises:
        DataError: No sample is usable.
    """
    selected = select(adapter, dataset, replace(config, dataset=name))
    unusable = [StoredMap(skipped.uid, Status.SKIPPED, error=skipped.reason) for skipped in selected.unusable]
    total = len(config.cells) * len(selected.samples)
    found: dict[str, list[StoredMap]] = {cell.name: [] for cell in config.cells}
    refused: dict[str, str] = {}
    done = 0
    for item in selected.samples:
        sample = item.without_tensors()
        for cell in config.cells:
            progress(done, total, f"{cell.method} {cell.variant}")
            found[cell.name].append(_explained(sample, cell, config.seed, refused))
            done += 1
    progress(done, total, "done")
    return [
        ScoredCell("", name, adapter.name, cell.method, cell.variant, _rows([*found[cell.name], *unusable], config))
        for cell in config.cells
    ]


def _explained(sample: PreparedSample, cell: MethodCell, seed: int, refused: dict[str, str]) -> StoredMap:
    """One explanation; a method that does not fit the model is asked once."""
    try:
        if cell.name in refused:
            raise NotApplicableError(refused[cell.name])
        return explain_sample(sample, cell.method, cell.options, derived_seed(seed, sample.uid))
    except NotApplicableError as error:
        refused[cell.name] = one_line(error)
        return replace(ended(sample), status=Status.SKIPPED, error=refused[cell.name])


def _rows(maps: Sequence[StoredMap], config: RunConfig) -> tuple[Row, ...]:
    return tuple(row_of(stored, config.metric_names, config.sign) for stored in maps)
