"""Stored maps of tokens, scored chunk by chunk: text between delimiters (A.8) instead of tokens.

The interquartile mean recall of 100 in Table 1a says that the paper scored something coarser than tokens, and chunks
are the only coarser unit of text that it names. Nothing is explained again: token maps and labels become those of
chunks by their maximum, after the sign rule.
"""

from dataclasses import replace

from atman_bench.core.errors import DataError
from atman_bench.core.records import Sample, ScoredCell, Status, TextUnits
from atman_bench.datasets import DATASETS
from atman_bench.datasets._chunking import split_document, tokens_of_chunks
from atman_bench.evaluation.config import RunConfig, load_configured
from atman_bench.evaluation.runner import RunSummary, passed_over
from atman_bench.evaluation.scoring import named, row_of
from atman_bench.models._base import ModelAdapter


def chunk_rows(config: RunConfig, summary: RunSummary) -> list[ScoredCell]:
    """The rows of a run's stored maps with chunks for units; their dataset is named ``DATASET in chunks``.

    Args:
        config: What was run.
        summary: What that did.

    Raises:
        DataError: The dataset cannot be loaded, or is not of texts.
        ModelError: The model cannot be loaded; its tokenizer says which token lies where.
        SampleError: A sample cannot be encoded any more.
        StoreError: The results cannot be read.
    """
    samples = {sample.uid: sample for sample in DATASETS.get(config.dataset).load(config.dataset_options).samples}
    adapter = load_configured(config)
    maps = [
        (cell, {uid: stored for uid, stored in cell.maps().items() if uid in summary.uids}) for cell in summary.cells
    ]
    explained = {uid for _, of_cell in maps for uid, stored in of_cell.items() if stored.status is Status.OK}
    groups = {uid: chunks_of(samples[uid], adapter) for uid in explained}
    scored = [
        named(cell, (row_of(m, config.metric_names, config.sign, groups.get(uid)) for uid, m in of_cell.items()))
        for cell, of_cell in maps
    ]
    skipped = passed_over(config, summary)
    return [replace(cell, dataset=f"{cell.dataset} in chunks", rows=(*cell.rows, *skipped)) for cell in scored]


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
