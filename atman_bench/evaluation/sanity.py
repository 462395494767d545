"""Sanity checks of methods: what a map has to do whatever it says, on a model of the user's.

A method whose maps stay when the model's layers are randomised, or when another target is explained, explains neither.
Two sentences that say the same share the credit, an answer that the context does not give leaves little to explain, and
a suppression by a factor of 1 changes nothing.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from atman_bench.core.errors import NotApplicableError, SampleError, one_line
from atman_bench.core.jsonl import PartWriter, read_parts, record_of, safe_name
from atman_bench.core.memory import is_out_of_memory
from atman_bench.core.records import SCHEMA, CharSpans, Sample, Status
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.explaining import derived_seed
from atman_bench.evaluation.randomised import STAGES, cascade, layers_of, stage_counts
from atman_bench.evaluation.runner import Prepared, Progress
from atman_bench.evaluation.samples import PreparedSample
from atman_bench.evaluation.sanity_records import Check, SanityRow
from atman_bench.evaluation.sanity_samples import Span, duplicated, without_answer
from atman_bench.evaluation.store import Cell
from atman_bench.methods._explain import explain_encoded
from atman_bench.metrics._align import unit_labels
from atman_bench.metrics.faithfulness import rank_correlation
from atman_bench.models._reading import encode_sample

_KIND = "sanity"

Map = Float[np.ndarray, " U"]


def run_checks(run: Prepared, config: RunConfig, progress: Progress) -> list[SanityRow]:
    """Run all checks that the results folder lacks, and return the rows of this run.

    The model's weights change while layers are randomised, and are put back whatever happens.

    Args:
        run: From ``runner.begin``.
        config: What it was made of.
        progress: Called before each check and once at the end.

    Raises:
        StoreError: Rows cannot be read or written.
    """
    identity = run.cells[0].identity
    folder = config.results / _KIND / safe_name(identity.dataset) / safe_name(identity.model)
    # What failed is tried again.
    known = {row.key: row for row in read_parts(folder, _KIND, _row) if row.status in (Status.OK, Status.SKIPPED)}
    with closing(PartWriter(folder)) as writer:
        panel = _Panel(run, config.seed, known, writer, progress)
        panel.check_trained()
        panel.check_randomised()
    progress(len(panel.asked), len(panel.asked), "done")
    return [known[key] for key in panel.asked]


@dataclass
class _Panel:
    """The checks of one run.

    Attributes:
        run: The run.
        seed: Of stochastic methods and shuffles.
        known: Key of a row -> the row; those of this run are added.
        writer: Where they are stored.
        progress: Called before each check.
        asked: Keys of this run's rows, in their order.
    """

    run: Prepared
    seed: int
    known: dict[tuple[str, str, str, float], SanityRow]
    writer: PartWriter
    progress: Progress
    asked: list[tuple[str, str, str, float]] = field(default_factory=list)

    def check_trained(self) -> None:
        """What needs no other weights."""
        samples = self.run.selected.samples
        for place, shared in enumerate(samples):
            item = shared.without_tensors()
            others = (*samples[place + 1 :], *samples[:place])
            same = {item.sample.target, item.sample.foil}
            target = next((o.sample.target for o in others if o.sample.target not in same), None)
            for cell in self.run.cells:
                self._ask(cell, item, Check.TARGET, 0.0, partial(_other_target, cell, item, target, self.seed))
                self._ask(cell, item, Check.DUPLICATE, 0.0, partial(_duplicate, cell, item, self.seed))
                self._ask(cell, item, Check.ABSENT, 0.0, partial(_absent, cell, item, self.seed))
                self._ask(cell, item, Check.FACTOR_ONE, 0.0, partial(_factor_one, cell, item, self.seed))

    def check_randomised(self) -> None:
        """Layers from the top down, all maps at every stage."""
        pairs = [(cell, item) for item in self.run.selected.samples for cell in self.run.cells]
        try:
            layers = layers_of(self.run.adapter)
        except NotApplicableError as error:
            for cell, item in pairs:
                self._ask(cell, item, Check.RANDOMISED, 1.0, partial(_agreement, error, cell, item, self.seed))
            return
        stages = {count: count / len(layers) for count in stage_counts(len(layers))}
        # The trained model's maps, before any weight changes.
        trained = {
            (cell, item.uid): _map_or_error(cell, item, self.seed)
            for cell, item in pairs
            if any(_unanswered(cell, item, Check.RANDOMISED, share).key not in self.known for share in stages.values())
        }
        with cascade(layers, self.seed) as randomise:
            for count, share in stages.items():
                randomise(count)
                for cell, item in pairs:
                    before = trained.get((cell, item.uid))
                    ask = partial(_agreement, before, cell, item, self.seed)
                    self._ask(cell, item, Check.RANDOMISED, share, ask)

    def _ask(
        self, cell: Cell, item: PreparedSample, check: Check, share: float, value: Callable[[], float | None]
    ) -> None:
        """Answer a question that is not answered yet, and store the answer."""
        row = _unanswered(cell, item, check, share)
        total = len(self.run.selected.samples) * len(self.run.cells) * (STAGES + len(Check) - 1)
        self.progress(len(self.asked), total, f"{check} {cell.identity.method} {cell.variant}")
        self.asked.append(row.key)
        if row.key in self.known:
            return
        try:
            row = replace(row, value=value())
        except (SampleError, NotApplicableError) as error:  # the check, or the method, is not defined here
            row = replace(row, status=Status.SKIPPED, error=one_line(error))
        except Exception as error:  # whatever one check meets, the others are not to be lost for it
            row = replace(row, status=Status.OOM if is_out_of_memory(error) else Status.ERROR, error=one_line(error))
        self.known[row.key] = row
        line = json.dumps({**asdict(row), "schema": SCHEMA}, allow_nan=False) + "\n"
        self.writer.write(_KIND, line.encode())


def _unanswered(cell: Cell, item: PreparedSample, check: Check, share: float) -> SanityRow:
    identity = cell.identity
    return SanityRow(
        identity.fingerprint, identity.method, cell.variant, item.uid, item.sample.group, check, share, Status.OK
    )


def _map_or_error(cell: Cell, item: PreparedSample, seed: int) -> Map | Exception:
    try:
        return _map(cell, item, item.sample, seed)
    except Exception as error:  # the row says it
        return error


def _agreement(before: Map | Exception | None, cell: Cell, item: PreparedSample, seed: int) -> float | None:
    if isinstance(before, Exception):
        raise before
    return None if before is None else rank_correlation(before, _map(cell, item, item.sample, seed))


def _other_target(cell: Cell, item: PreparedSample, target: str | None, seed: int) -> float | None:
    if target is None or item.sample.words:
        raise SampleError("there is no other target")
    other = _map(cell, item, replace(item.sample, target=target), seed)
    return rank_correlation(_map(cell, item, item.sample, seed), other)


def _duplicate(cell: Cell, item: PreparedSample, seed: int) -> float | None:
    twice = duplicated(item.sample)
    units = encode_sample(item.adapter, twice.sample, item.kind).units
    scores = np.maximum(_map(cell, item, twice.sample, seed), 0)
    credit = [float(scores @ unit_labels(_at(span), units, None)) for span in (twice.first, twice.second)]
    return min(credit) / sum(credit) if sum(credit) else None


def _absent(cell: Cell, item: PreparedSample, seed: int) -> float | None:
    variants = (item.sample, without_answer(item.sample))
    given, absent = (max(float(_map(cell, item, sample, seed).max()), 0.0) for sample in variants)
    return absent / (given + absent) if given + absent else None


def _factor_one(cell: Cell, item: PreparedSample, seed: int) -> float | None:
    if not hasattr(cell.options, "f"):
        raise NotApplicableError(f"{cell.identity.method} suppresses nothing by a factor")
    return float(np.abs(_map(cell, item, item.sample, seed, replace(cell.options, f=0.0))).max())


def _map(cell: Cell, item: PreparedSample, sample: Sample, seed: int, options: Any = None) -> Map:
    """The map of a sample, or of a variant of it, by the weights as they are now."""
    encoded = encode_sample(item.adapter, sample, item.kind)
    chosen = cell.options if options is None else options
    found = explain_encoded(item.adapter, encoded, cell.identity.method, chosen, derived_seed(seed, item.uid))
    return found.scores.double().numpy()


def _at(span: Span) -> CharSpans:
    return CharSpans((span,))


def _row(content: Mapping[str, Any]) -> SanityRow:
    return record_of(SanityRow, {name: value for name, value in content.items() if name != "schema"})
