"""One explanation on several workers (A.1): each runs a share of its perturbations, and the driver makes the map.

A share holds whole batches of the sweep, which follow from the sample alone, so the map is that of an undivided sweep.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from atman_bench.core.errors import ModelError, NotApplicableError, SampleError, one_line
from atman_bench.core.measure import measure
from atman_bench.core.records import Cost, Status, Units
from atman_bench.core.tensors import Attribution
from atman_bench.evaluation.driver.faults import Fault
from atman_bench.evaluation.explaining import completed, ended, failed
from atman_bench.evaluation.remote import Explain, Explained, WorkerModel, with_own_budget
from atman_bench.evaluation.samples import PreparedSample, UsableSample
from atman_bench.evaluation.stored import StoredMap
from atman_bench.methods import METHODS
from atman_bench.methods._engine import Share, Sweep
from atman_bench.methods._explain import check_explainable, check_plain, check_scores
from atman_bench.models._base import ModelAdapter, Plain


@dataclass(frozen=True)
class SampleShare:
    """A share of one sample's perturbations."""

    sample: UsableSample
    share: Share


@dataclass(frozen=True)
class SharedSweep:
    """What the perturbations of a share gave; arrays, since tensors travel by shared memory of processes that may end.

    Attributes:
        units: What the sample's U units are.
        which: Which perturbation the score of each unit is of.
        losses: See ``Sweep``; NaN where another share runs a perturbation.
        plain_losses: Without perturbation.
        plain: What the unperturbed model says; the first share asks it for all.
        cost: Of this share, with its plain pass.
    """

    units: Units
    which: Sequence[int]
    losses: Float[np.ndarray, "P T"]
    plain_losses: Float[np.ndarray, " T"]
    plain: Plain | None
    cost: Cost

    @property
    def sweep(self) -> Sweep:
        """As the engine has it."""
        return Sweep(torch.tensor(self.losses), torch.tensor(self.plain_losses))


@dataclass(frozen=True)
class ExplainedShare:
    """A share as a worker sends it back.

    Attributes:
        fingerprint: Of the cell.
        share: Which one.
        begun: The sample without a map, or how it ended.
        found: What was measured; None where it ended otherwise.
    """

    fingerprint: str
    share: Share
    begun: StoredMap
    found: SharedSweep | None = None


@dataclass(frozen=True, eq=False)
class ExplainShare:
    """The work of one cell whose samples are shared among workers.

    Attributes:
        whole: The work of explaining whole samples.
    """

    whole: Explain

    @property
    def model(self) -> WorkerModel:
        """The model."""
        return self.whole.model

    def run(self, loaded: ModelAdapter, sample: SampleShare) -> ExplainedShare:
        """Run a share of one sample's perturbations.

        Raises:
            DeviceFaultError: The device reports an error that sticks to this process.
        """
        whole, item = self.whole, sample.sample.on_model(loaded)
        begun, found = ended(item), None
        try:
            found = run_share(item, whole.method, with_own_budget(whole.options, loaded), sample.share)
        except NotApplicableError as error:
            begun = replace(begun, status=Status.SKIPPED, error=one_line(error))
        except Exception as error:  # whatever one sample meets, the others are not to be lost for it
            begun = failed(begun, whole.method, error)
        return ExplainedShare(whole.fingerprint, sample.share, begun, found)

    def failed(self, sample: SampleShare, fault: Fault) -> ExplainedShare:
        """An error row with the reason."""
        return ExplainedShare(self.whole.fingerprint, sample.share, self.whole.failed(sample.sample, fault).stored)

    def planned_positions(self, sample: SampleShare) -> float:
        """See ``Explain.planned_positions``."""
        return self.whole.planned_positions(sample.sample) / sample.share.count


def run_share(item: PreparedSample, method: str, options: Any, share: Share) -> SharedSweep:
    """Run a share of a sample's perturbations, after a plain pass of its own.

    Raises:
        SampleError: See ``check_explainable``; or the foil is a span.
        NotApplicableError: See there, or the method is not defined for the model.
        ModelError: The plain model says no numbers.
        torch.OutOfMemoryError: Not even one perturbation fits.
    """
    adapter, encoded, listed = item.adapter, item.encoded, METHODS.get(method).listed
    if listed is None:
        raise NotApplicableError(f"{method} does not list its perturbations before they run")
    check_explainable(encoded, method)
    if encoded.foil is not None:
        raise SampleError(
            "a target and a foil of several tokens are two sequences, whose perturbations workers cannot share: leave "
            "--split-perturbations out"
        )

    def run() -> tuple[Sequence[int], Sweep]:
        found = listed(adapter, encoded, options)
        return found.which, found.run(adapter, encoded, options.engine_options(), share)

    (which, found), cost = measure(run, adapter.model, adapter.device)
    plain = item.plain if share.index == 0 else None
    if plain is not None:
        check_plain(plain)
    return SharedSweep(encoded.units, which, found.losses.numpy(), found.plain.numpy(), plain, cost)


class Gathering:
    """Keeps shares until all of a sample are there."""

    def __init__(self) -> None:
        self._shares: dict[tuple[str, str], list[ExplainedShare]] = {}

    def add(self, work: Explain, share: ExplainedShare) -> Explained | None:
        """The explanation that this share completes, None where others are to come.

        Args:
            work: What the shares are of.
            share: The share.
        """
        key = share.fingerprint, share.begun.uid
        known = self._shares.setdefault(key, [])
        known.append(share)
        if len(known) < share.share.count:
            return None
        return work.scored(joined(work.method, self._shares.pop(key)))


def joined(method: str, shares: Sequence[ExplainedShare]) -> StoredMap:
    """The map of a sample, of all its shares; what the first of them met that has none.

    Seconds and positions are those of all shares, repeated plain passes among them: what the map took, not how soon it
    was there. Peak memory is that of one worker.
    """
    in_order = sorted(shares, key=lambda share: share.share.index)
    found: list[SharedSweep] = []
    for share in in_order:
        if share.found is None:
            return share.begun
        found.append(share.found)
    begun, first, costs = in_order[0].begun, found[0], [part.cost for part in found]
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes is not None]
    cost = Cost(sum(c.seconds for c in costs), sum(c.forward_tokens for c in costs), max(peaks, default=None))
    deltas = Sweep.joined([part.sweep for part in found]).deltas
    attribution = Attribution.mean_of(deltas[:, list(first.which)])
    try:
        check_scores(method, attribution)
    except ModelError as error:
        return failed(begun, method, error)
    plain = next(part.plain for part in found if part.plain is not None)
    return completed(begun, attribution, first.units, plain, cost)
