"""Which stored maps are wanted, and the samples that they are of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atman_bench.core.errors import DataError, UnknownNameError
from atman_bench.core.options import build
from atman_bench.core.records import Sample
from atman_bench.datasets import DATASETS
from atman_bench.evaluation import store
from atman_bench.evaluation.scoring import dataset_name
from atman_bench.evaluation.store import Cell
from atman_bench.evaluation.stored import Identity
from atman_bench.methods.floors import FLOORS
from atman_bench.report.tables import cell_name


@dataclass(frozen=True)
class Selection:
    """Which maps are wanted; None chooses.

    Attributes:
        dataset: As tables name it; needed where the results are of several.
        model: The same.
        methods: ``METHOD`` or ``METHOD:VARIANT`` in the order wanted; None takes all but the floors.
        uids: Samples in the order wanted; None takes the first that all of the methods have a map of.
        among: Those are chosen from these (the samples of a run); None chooses from all.
        n: How many samples, where ``uids`` is None.
    """

    dataset: str | None = None
    model: str | None = None
    methods: Sequence[str] | None = None
    uids: Sequence[str] | None = None
    among: Sequence[str] | None = None
    n: int = 4


def cells_of(results: Path, selection: Selection, *, floors: bool = False) -> list[Cell]:
    """The cells of one experiment, the newest of each name, in the order wanted.

    Raises:
        StoreError: The results cannot be read.
        UnknownNameError: They have no such dataset, model or method.
        DataError: There are none, or they are of several datasets or models.
    """
    newest = sorted(store.cells(results), key=lambda cell: str(cell.manifest["created"]), reverse=True)
    if not newest:
        raise DataError(f"{results} holds no results: run 'atman-bench eval --results {results}' first")
    for kind, wanted, names in (
        ("dataset", selection.dataset, {dataset_name(cell.identity) for cell in newest}),
        ("model", selection.model, {cell.identity.model for cell in newest}),
    ):
        if wanted is not None and wanted not in names:
            raise UnknownNameError(f"{kind} in {results}", wanted, names)
        if wanted is None and len(names) > 1:
            raise DataError(f"{results} holds several {kind}s, choose one with --{kind}: {', '.join(sorted(names))}")
    chosen = [
        cell
        for cell in newest
        if selection.dataset in (None, dataset_name(cell.identity)) and selection.model in (None, cell.identity.model)
    ]
    if not chosen:
        raise DataError(f"{results} has no maps of dataset {selection.dataset} and model {selection.model}")
    by_name: dict[str, Cell] = {}
    for cell in chosen:
        if cell.identity.same_experiment(chosen[0].identity):
            by_name.setdefault(cell_name(cell.identity.method, cell.variant), cell)
    if selection.methods is None:
        methods = [name for name in sorted(by_name) if floors or by_name[name].identity.method not in FLOORS]
        return [by_name[name] for name in methods or by_name]
    wanted_cells = []
    for name in selection.methods:
        method, colon, variant = name.partition(":")
        key = method.replace("-", "_") + colon + variant
        if key not in by_name:
            raise UnknownNameError(f"method in {results}", name, by_name)
        wanted_cells.append(by_name[key])
    return wanted_cells


def samples_of(identity: Identity, data: str | None) -> dict[str, Sample]:
    """The samples of a stored experiment by their ids, from where the dataset is now.

    Raises:
        DataError: The dataset cannot be loaded, or is not the one that the maps were computed on.
    """
    spec = DATASETS.get(identity.dataset)
    options = {**identity.dataset_options, **({} if data is None else {"data": data})}
    dataset = spec.load(build(spec.config, options, f"datasets.{identity.dataset}"))
    if dataset.content_hash != identity.dataset_hash:
        raise DataError(
            f"{data or identity.dataset} holds other data than these maps were computed on: give the same with --data"
        )
    return {sample.uid: sample for sample in dataset.samples}
