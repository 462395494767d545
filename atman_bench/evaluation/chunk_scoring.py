"""Stored maps of tokens, scored chunk by chunk: text between delimiters (A.8) instead of tokens.

The interquartile mean recall of 100 in Table 1a says that the paper scored something coarser than tokens, and chunks
are the only coarser unit of text that it names. Nothing is explained again: token maps and labels become those of
chunks by their maximum, after the sign rule.
"""

from collections.abc import Sequence
from dataclasses import replace

from atman_bench.core.errors import DataError
from atman_bench.core.records import Row, Sample, Status, TextUnits
from atman_bench.datasets import DATASETS
from atman_bench.datasets._chunking import split_document, tokens_of_chunks
from atman_bench.evaluation.config import RunConfig, load_configured
from atman_bench.evaluation.scoring import rows_of
from atman_bench.evaluation.store import Cell
from atman_bench.models._base import ModelAdapter


def chunk_rows(config: RunConfig, cells: Sequence[Cell]) -> list[Row]:
    """The rows of a run's stored maps with chunks for units; their dataset is named ``DATASET in chunks``.

    Args:
        config: What was run.
        cells: Its stored cells.

    Raises:
        DataError: The dataset cannot be loaded, or is not of texts.
        ModelError: The model cannot be loaded; its tokenizer says which token lies where.
        SampleError: A sample cannot be encoded any more.
        StoreError: The results cannot be read.
    """
    samples = {sample.uid: sample for sample in DATASETS.get(config.dataset).load(config.dataset_options).samples}
    adapter = load_configured(config)
    maps = [(cell, cell.maps()) for cell in cells]
    explained = {uid for _, of_cell in maps for uid, stored in of_cell.items() if stored.status is Status.OK}
    groups = {uid: chunks_of(samples[uid], adapter) for uid in explained}
    return [
        replace(row, dataset=f"{row.dataset} in chunks")
        for cell, of_cell in maps
        for uid, stored in of_cell.items()
        for row in rows_of(cell, stored, config.metric_names, config.sign, groups.get(uid))
    ]


def chunks_of(sample: Sample, adapter: ModelAdapter) -> list[list[int]]:
    """The units of each chunk of what is explained of a sample; a chunk without a token of its own is left out.

    Raises:
        DataError: A picture is explained.
        SampleError: The sample cannot be encoded.
    """
    units = adapter.encode(sample).units
    if sample.explain is None or not isinstance(units, TextUnits) or units.spans is None:
        raise DataError(f"sample {sample.uid} explains no text, so there is nothing to cut into chunks")
    start, end = sample.explain
    cut = split_document(sample.prompt[start:end])
    shifted = [(start + first, start + last) for first, last in cut]
    return [group for group in tokens_of_chunks(shifted, sample.prompt, units.spans) if group]
