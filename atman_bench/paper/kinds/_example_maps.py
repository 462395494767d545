"""Explains single samples and makes their maps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from atman_bench.core.errors import DataError
from atman_bench.core.records import Row, Sample, ScoredCell, Status
from atman_bench.core.tensors import Encoded, Explanation
from atman_bench.datasets import DATASETS
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.explaining import derived_seed
from atman_bench.evaluation.scoring import dataset_label
from atman_bench.methods._explain import explain_encoded
from atman_bench.metrics._signs import Sign
from atman_bench.models._base import ModelAdapter
from atman_bench.paper.kinds.examples import Example
from atman_bench.report.heatmap import HeatMap, Phrase, find_phrase
from atman_bench.report.picture_maps import heat_map_of

HIGHEST = "highest"
"""The metric of a row of an example: its highest score, in nats for perturbation methods."""

_LONGEST_GENERATION = 16


@dataclass(frozen=True)
class ExampleMap:
    """One method's map of one example.

    Attributes:
        row: What it is of: one row.
        title: The question and what is explained.
        heat: The map, signed.
    """

    row: ScoredCell
    title: str
    heat: HeatMap

    def highest(self, n: int) -> list[tuple[str, float]]:
        """The n units with the highest positive scores."""
        best = np.argsort(-self.heat.scores, kind="stable")[:n]
        return [(self.heat.texts[i].strip(), float(self.heat.scores[i])) for i in best if self.heat.scores[i] > 0]

    @property
    def share_on_picture(self) -> float | None:
        """Share of the positive relevance that is on patches; None without patches or without relevance."""
        positive = np.maximum(self.heat.scores, 0)
        if not self.heat.grids or not positive.any():
            return None
        return float(sum(positive[grid.members].sum() for grid in self.heat.grids) / positive.sum())


def explain_examples(adapter: ModelAdapter, config: RunConfig, examples: Sequence[Example]) -> tuple[ExampleMap, ...]:
    """Explain each example by each method of a run.

    Raises:
        DataError: The dataset cannot be loaded, or has no such sample.
        SampleError: An example cannot be encoded.
    """
    samples = {sample.uid: sample for sample in DATASETS.get(config.dataset).load(config.dataset_options).samples}
    if missing := [example.uid for example in examples if example.uid not in samples]:
        raise DataError(f"{config.dataset} has no sample {missing[0]}: these examples are of the published data")
    maps = []
    for example in examples:
        sample = _changed(samples[example.uid], example, adapter)
        encoded = _encoded(sample, example, adapter)
        for cell in config.cells:
            seed = derived_seed(config.seed, sample.uid)
            explanation = explain_encoded(adapter, encoded, cell.method, cell.options, seed)
            values = {HIGHEST: float(explanation.scores.max())}
            row = Row(sample.uid, Sign.POSITIVE, Status.OK, values, group=sample.group)
            dataset = dataset_label(config.dataset, config.dataset_options)
            of_cell = ScoredCell("", dataset, adapter.name, cell.method, cell.variant, (row,))
            question = sample.prompt if sample.explain is None else sample.prompt[sample.explain[1] :]
            title = f"{question.strip()} → {sample.target.strip()}"
            caption = f"{adapter.name} · {cell.method} {cell.variant}"
            phrases = _phrases(explanation, example.phrases)
            heat = heat_map_of(explanation, sample.prompt, sample.picture, caption, phrases, adapter.dtype_name)
            maps.append(ExampleMap(of_cell, title, heat))
    return tuple(maps)


def _phrases(explanation: Explanation, wanted: Sequence[str]) -> tuple[Phrase, ...]:
    """Those phrases that the target has: another model may generate other words."""
    target = "".join("".join(explanation.target_texts).split())
    return tuple(find_phrase(explanation.target_texts, text) for text in wanted if "".join(text.split()) in target)


def _changed(sample: Sample, example: Example, adapter: ModelAdapter) -> Sample:
    prompt = sample.prompt if example.prompt is None else example.prompt
    target = sample.target if example.target is None else example.target
    if example.generated:
        target = adapter.complete(prompt, _LONGEST_GENERATION, sample.picture)
    return replace(sample, prompt=prompt, target=target, words=())


def _encoded(sample: Sample, example: Example, adapter: ModelAdapter) -> Encoded:
    """Of a text what its dataset explains, of an image what the example says."""
    if sample.picture is None:
        return adapter.encode(sample)
    return adapter.encode_text(sample.prompt, sample.target, None, sample.picture, example.explained)
