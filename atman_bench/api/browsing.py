"""Stored results as a page to look through: what stands in the store, with the samples and tokens that it is of."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from atman_bench.core.errors import DataError, ModelError, UnknownNameError
from atman_bench.core.images import open_picture, rgb_array
from atman_bench.core.progress import tell
from atman_bench.core.records import PatchUnits, Sample, Status, TextUnits, UnitKind
from atman_bench.evaluation.scoring import dataset_name, grid_of, row_of
from atman_bench.evaluation.store import Cell
from atman_bench.evaluation.stored import Identity, StoredMap
from atman_bench.methods.floors import FLOORS
from atman_bench.metrics._signs import Sign
from atman_bench.models import MODELS
from atman_bench.models._base import LoadOptions
from atman_bench.models._load import load
from atman_bench.models._loading import tokenizer_or_reason
from atman_bench.models._names import family_and_argument
from atman_bench.models._parts import text_units
from atman_bench.models._pull import PulledKind, pulled_folder
from atman_bench.models._reading import grouped
from atman_bench.report._scales import noise_of
from atman_bench.report.browse import MOST_SAMPLES, Browsed, browse_page
from atman_bench.report.heatmap import Grid, HeatMap
from atman_bench.report.stored_maps import Selection, cells_of, samples_of
from atman_bench.report.tables import cell_name

MOST_UNITS = 4096
"""Maps of single pixels have more, and are left out: a page of thousands would weigh gigabytes."""

Units = TextUnits | PatchUnits


def browse(
    results: Path,
    selection: Selection,
    metrics: Sequence[str],
    sign: Sign,
    data: str | None = None,
    tokenizer: str | None = None,
) -> str:
    """Write the page of one dataset and model.

    Args:
        results: Of ``atman-bench eval``.
        selection: Which dataset, model, methods and samples; methods None takes all, the floors last.
        metrics: Names of metrics.
        sign: How signed scores become a map that is scored; maps are shown as they are.
        data: Where the dataset is; None where it needs none.
        tokenizer: Where the model's tokenizer is, for texts: a folder, a hub id, or ``pulled:NAME``. None for models
            that come with the package.

    Raises:
        StoreError: The results cannot be read.
        UnknownNameError: They have no such dataset, model, method or sample.
        DataError: They are of several datasets or models, or the dataset or tokenizer is not theirs.
        ModelError: There is no tokenizer.
    """
    cells = cells_of(results, selection)
    if selection.methods is None:  # the floors are looked at too
        named = [cell for cell in cells_of(results, selection, floors=True) if cell.identity.method in FLOORS]
        cells = [*(cell for cell in cells if cell.identity.method not in FLOORS), *named]
    names = [cell_name(cell.identity.method, cell.variant) for cell in cells]
    maps = [cell.maps() for cell in cells]
    samples = samples_of(cells[0].identity, data)
    chosen = _uids(maps, samples, selection)
    units_of = _units_reader(cells[0].identity, tokenizer)
    floors = [name for name, cell in zip(names, cells, strict=True) if cell.identity.method in FLOORS]

    def browsed(number: int, uid: str) -> Browsed:
        tell(number, len(chosen), "samples")
        stored = {name: found[uid] for name, found in zip(names, maps, strict=True) if uid in found}
        return _browsed(samples[uid], stored, dict(zip(names, cells, strict=True)), metrics, sign, units_of)

    identity = cells[0].identity
    title = f"{dataset_name(identity)} · {identity.model} · {len(chosen)} samples"
    return browse_page(title, names, floors, metrics, [browsed(i, uid) for i, uid in enumerate(chosen)])


def _uids(maps: Sequence[dict[str, StoredMap]], samples: dict[str, Sample], selection: Selection) -> list[str]:
    """The samples that are shown, in the dataset's order."""
    available = {uid for found in maps for uid, stored in found.items() if stored.status is Status.OK}
    if selection.uids is not None:
        for uid in selection.uids:
            if uid not in available:
                raise UnknownNameError("sample with a map", uid, available)
        return list(selection.uids)
    return [uid for uid in samples if uid in available][: min(selection.n, MOST_SAMPLES)]


def _units_reader(identity: Identity, tokenizer: str | None) -> Callable[[Sample, StoredMap], Units]:
    """What gives the units of a sample's stored map: its patches, or the tokens of its text."""
    read_text: list[Callable[[Sample], Units]] = []

    def units(sample: Sample, stored: StoredMap) -> Units:
        if sample.picture is not None and sample.explain is None:
            found = grid_of(stored, open_picture(sample.picture).size)
            if found is None:
                raise DataError(f"the maps of {sample.uid} do not say where their patches are: run eval --overwrite")
            return found
        if not read_text:
            read_text.append(_text_reader(identity, tokenizer))
        return read_text[0](sample)

    return units


def _text_reader(identity: Identity, tokenizer: str | None) -> Callable[[Sample], Units]:
    """What gives the tokens of a text: a tokenizer alone, or a model of the package with its own."""
    name = tokenizer or identity.model
    if tokenizer is None and (name.partition(":")[0] not in MODELS or name.startswith("hf")):
        raise ModelError(
            f"the tokens of {identity.model!r} are not in the results: give its folder, hub id or pulled:NAME with "
            "--tokenizer"
        )
    family, argument = family_and_argument(name)
    if family not in ("hf", "pulled"):
        adapter = load(name, LoadOptions())

        def encoded(sample: Sample) -> Units:
            units = grouped(adapter.encode(sample), identity.units).units
            assert isinstance(units, TextUnits)  # a text has no others
            return units

        return encoded
    if identity.units is not UnitKind.TOKEN:
        raise ModelError(
            f"results by {identity.units}: only models that come with the package say which tokens they hold"
        )
    source = pulled_folder(argument, PulledKind.LANGUAGE_MODEL) if family == "pulled" else Path(argument).expanduser()
    loaded, reason = tokenizer_or_reason(source if source.is_dir() else argument, {})
    if loaded is None:
        raise ModelError(f"{name} {reason}")
    return lambda sample: text_units(loaded, sample)


def _browsed(
    sample: Sample,
    stored: dict[str, StoredMap],
    cells: dict[str, Cell],
    metrics: Sequence[str],
    sign: Sign,
    units_of: Callable[[Sample, StoredMap], Units],
) -> Browsed:
    maps: dict[str, HeatMap] = {}
    missing: dict[str, str] = {}
    units: Units | None = None
    for name, found in stored.items():
        if found.status is not Status.OK:
            missing[name] = found.error or found.status.value
        elif len(found.scores) > MOST_UNITS:
            missing[name] = f"a map of {len(found.scores)} single pixels is too large for this page"
        else:
            own = units if units is not None else units_of(sample, found)
            if len(own) != len(found.scores):
                if units is not None:
                    missing[name] = f"it has {len(found.scores)} units of its own"
                    continue
                raise DataError(
                    f"the map of {sample.uid} by {name} has {len(found.scores)} units and its text {len(own)} tokens: "
                    "is it the tokenizer of the model that was explained?"
                )
            units = own
            maps[name] = _heat(sample, found, units, cells[name].identity)
    values = {name: row_of(found, metrics, sign).values for name, found in stored.items()}
    answered = next((found.answered for found in stored.values() if found.answered is not None), None)
    return Browsed(sample.uid, sample.group, sample.target, answered, maps, values, missing)


def _heat(sample: Sample, stored: StoredMap, units: Units, identity: Identity) -> HeatMap:
    patches = isinstance(units, PatchUnits)
    return HeatMap(
        caption="",
        texts=units.texts,
        scores=np.asarray(stored.scores, np.float32),
        target_texts=(sample.target,),
        prompt=sample.prompt,
        spans=(None,) * len(units) if isinstance(units, PatchUnits) else units.spans,
        grids=(Grid(0, units),) if isinstance(units, PatchUnits) else (),
        picture=rgb_array(open_picture(sample.picture)) if patches and sample.picture is not None else None,
        noise=noise_of(identity.method, stored.target_logprobs, identity.dtype),
        evidence=np.asarray(stored.label, np.float64),
    )
