"""Stored maps of images with the images that they lie on: what the figure of maps is drawn from.

Images are not stored with the maps, nor where they were: the dataset is loaded again, from wherever it is now, and
has to be the one that the maps were computed on. ``heat_map_of`` does the same for an explanation that was just made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atman_bench.core.errors import DataError, UnknownNameError
from atman_bench.core.images import open_picture, rgb_array
from atman_bench.core.records import Dtype, JointUnits, Label, Modality, PatchUnits, Picture, Sample, ScoredCell, Status
from atman_bench.datasets import DATASETS
from atman_bench.evaluation.scoring import grid_of, maps_of, named, row_of
from atman_bench.evaluation.store import Cell
from atman_bench.evaluation.stored import StoredMap
from atman_bench.metrics import METRICS
from atman_bench.metrics._signs import Sign
from atman_bench.report._scales import noise_of
from atman_bench.report.heatmap import Grid, HeatMap, Phrase
from atman_bench.report.stored_maps import Selection, cells_of, samples_of
from atman_bench.report.tables import cell_name, frame_of

if TYPE_CHECKING:
    from atman_bench.core.tensors import Explanation

METRIC = "average_precision"


@dataclass(frozen=True)
class PictureMap:
    """One map of one picture.

    Attributes:
        cell: What it is by, with one row of its average precision (of each map's own, where a sample has one a word).
        word: Which word of the sample it explains; 0 where it explains the target.
        explained: How that reads.
        picture: What it lies on.
        units: Where its patches are.
        scores: (U,) the map under the sign rule.
        noise: The largest score that rounding can make.
        label: Where the evidence is.
    """

    cell: ScoredCell
    word: int
    explained: str
    picture: Picture
    units: PatchUnits
    scores: np.ndarray
    noise: float
    label: Label

    @property
    def uid(self) -> str:
        """The sample's."""
        return self.cell.rows[0].uid


def picture_maps(results: Path, data: str | None, sign: Sign, selection: Selection) -> list[PictureMap]:
    """Maps from a results folder, sample by sample, with their pictures.

    Args:
        results: Of ``atman-bench eval``.
        data: Where the dataset is; None where it needs none.
        sign: How signed scores become a map.
        selection: Which maps.

    Raises:
        StoreError: The results cannot be read.
        UnknownNameError: The results have no such dataset, model, method or sample.
        DataError: They are of several datasets or models, or of texts; or the dataset is not theirs.
        SampleError: A picture cannot be decoded.
    """
    cells = cells_of(results, selection)
    maps = [{uid: m for uid, m in cell.maps().items() if m.status is Status.OK} for cell in cells]
    if DATASETS.get(cells[0].identity.dataset).modality is not Modality.IMAGE:
        name = cells[0].identity.dataset
        raise DataError(f"{name} has no pictures; maps of texts are shown by 'atman-bench browse {results}'")
    samples = samples_of(cells[0].identity, data)
    uids = _uids(maps, selection)
    return [
        found
        for uid in uids
        for cell, stored in zip(cells, maps, strict=True)
        if uid in stored
        for found in _maps_of_sample(cell, stored[uid], samples[uid], sign)
    ]


def frame_of_maps(maps: Sequence[PictureMap]) -> pd.DataFrame:
    """The rows of maps, with the columns that the figure of maps needs beside them.

    Raises:
        DataError: There are none.
    """
    beside = [
        {
            "word": item.word,
            "explained": item.explained,
            "picture": item.picture,
            "units": item.units,
            "map": item.scores,
            "noise": item.noise,
            "label": item.label,
        }
        for item in maps
    ]
    return frame_of(item.cell for item in maps).join(pd.DataFrame(beside))


def _uids(maps: Sequence[dict[str, StoredMap]], selection: Selection) -> list[str]:
    available = {uid: None for stored in maps for uid in stored}
    if selection.uids is None:
        candidates = available if selection.among is None else selection.among
        common = [uid for uid in candidates if all(uid in stored for stored in maps)]
        if not common:
            raise DataError("no sample has a map of each of these methods: choose fewer with --methods")
        return common[: selection.n]
    for uid in selection.uids:
        if uid not in available:
            raise UnknownNameError("sample with a map", uid, available)
    return list(selection.uids)


def _maps_of_sample(cell: Cell, stored: StoredMap, sample: Sample, sign: Sign) -> list[PictureMap]:
    if sample.picture is None:
        raise DataError(f"sample {sample.uid} has no picture")
    units = grid_of(stored, open_picture(sample.picture).size)
    if units is None:
        raise DataError(
            f"the map of {sample.uid} by {cell_name(cell.identity.method, cell.variant)} does not say where its "
            "patches are: it was stored by an older version; run eval again with --overwrite"
        )
    row = row_of(stored, [METRIC], sign)
    text = sample.prompt + sample.target
    words = [(text[slice(*word.span)], word.label) for word in sample.words]
    explained = words or [(sample.target.strip(), sample.label)]
    return [
        PictureMap(
            cell=named(cell, [replace(row, values={METRIC: METRICS.get(METRIC).function(x, y)})]),
            word=index,
            explained=name,
            picture=sample.picture,
            units=units,
            scores=x,
            noise=noise_of(cell.identity.method, stored.target_logprobs, cell.identity.dtype),
            label=label,
        )
        for index, ((x, y), (name, label)) in enumerate(zip(maps_of(stored, sign), explained, strict=True))
    ]


def heat_map_of(
    explanation: "Explanation",
    prompt: str | None,
    picture: Picture | None,
    caption: str,
    phrases: tuple[Phrase, ...] = (),
    dtype: str = Dtype.FLOAT32,
) -> HeatMap:
    """One explanation as a heat map over the words of its prompt, the patches of its picture, or both.

    Args:
        explanation: Of text, a picture, or both together.
        prompt: What the model read, or None where it was given as token ids.
        picture: What it saw.
        caption: Model, method and variant, in words.
        phrases: Parts of the target that get a map of their own.
        dtype: Of the model that was explained.

    Raises:
        SampleError: The picture cannot be decoded.
    """
    units = explanation.units
    grids: list[Grid] = []
    spans: list[tuple[int, int] | None] = []
    for block in units.blocks if isinstance(units, JointUnits) else (units,):
        if isinstance(block, PatchUnits):
            grids.append(Grid(len(spans), block))
            spans += [None] * len(block)
        else:
            spans += block.spans or [None] * len(block)
    return HeatMap(
        caption=caption,
        texts=units.texts,
        scores=explanation.scores.numpy(),
        target_texts=explanation.target_texts,
        per_target=None if explanation.per_target is None else explanation.per_target.numpy(),
        prompt=prompt,
        spans=tuple(spans),
        grids=tuple(grids),
        picture=None if picture is None else rgb_array(open_picture(picture)),
        phrases=phrases,
        remarks=explanation.remarks,
        noise=noise_of(explanation.method, explanation.target_logprobs, dtype),
    )
