"""Log-probabilities of a sample's target under subsets of its units: the mask bank, and orders of removal."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from atman_bench.attention.edit import AttentionEdit, Form
from atman_bench.core.errors import AtmanBenchError, ConfigError
from atman_bench.core.options import check_count
from atman_bench.core.records import Intervention
from atman_bench.core.tensors import Encoded
from atman_bench.methods._engine import Perturbations, sweep
from atman_bench.methods._objective import contrasted
from atman_bench.methods._perturbation import Baseline, EngineConfig, at_positions, replaced
from atman_bench.metrics.faithfulness import response_logit
from atman_bench.models._base import ModelAdapter

BANK_SIZE = 64
"""Subsets of a sample's mask bank."""

FIRST_SEED = 1 << 32
"""Seeds of the subsets that methods fit scores to start here: faithfulness is measured on others."""


@dataclass(frozen=True, kw_only=True)
class InterventionOptions(EngineConfig):
    """How units are taken away, and what only changes what that costs.

    Attributes:
        intervention: See ``Intervention``.
        f: Suppression factor of ``attention``: scores are edited with 1 - f. 1 suppresses in full; in the shifted form
            a score becomes its row's minimum, which is not removal.
        form: Form of ``attention``.
        baseline: What ``embedding`` puts in place of an embedding.
    """

    intervention: Intervention = Intervention.ATTENTION
    f: float = 1.0
    form: Form = Form.SHIFTED
    baseline: Baseline = Baseline.ZERO

    def __post_init__(self) -> None:
        if self.f == 0:
            raise ConfigError("f = 0 takes nothing away: expected a suppression factor above 0, at most 1")
        if self.form is Form.LOG and self.f > 1:
            raise ConfigError(f"form 'log' adds log(1 - f): expected f <= 1, received {self.f}")


@dataclass(frozen=True, kw_only=True)
class SurrogateConfig(EngineConfig):
    """Options of the methods that fit a surrogate of the response's log-odds to random subsets of units.

    Attributes:
        edit: How units that a set leaves out are taken away: embedding (replaced, as removed text) or attention
            (suppressed in full, as AtMan does: our own surrogate).
        baseline: What replaces the embedding of an absent token: zero, or the mean embedding.
        n_samples: How many random sets are run, a forward pass each; each keeps a unit with probability 1/2.
    """

    edit: Intervention = Intervention.EMBEDDING
    baseline: Baseline = Baseline.ZERO
    n_samples: int = BANK_SIZE

    def __post_init__(self) -> None:
        check_count("n_samples", self.n_samples, least=2)


def sampled(
    model: ModelAdapter, encoded: Encoded, config: SurrogateConfig, seed: int
) -> tuple[Bool[np.ndarray, "M U"], Float[np.ndarray, " M"]]:
    """The subsets that a surrogate is fitted to, and the log-odds of the response under them.

    Against all other responses, log p - log(1 - p), or against the foil where there is one, log p - log p(foil).

    Raises:
        torch.OutOfMemoryError: See ``run_bank``.
    """
    masks = random_subsets(encoded.uid, len(encoded.units), config.n_samples, FIRST_SEED + seed)
    options = InterventionOptions(
        intervention=config.edit,
        baseline=config.baseline,
        engine=config.engine,
        batch=config.batch,
        memory_gb=config.memory_gb,
    )
    logprobs = run_bank(model, encoded, masks, options)
    return masks, logprobs[:, 0] if encoded.has_foil else response_logit(logprobs)


def random_subsets(uid: str, n_units: int, n_subsets: int = BANK_SIZE, seed: int = 0) -> Bool[np.ndarray, "M U"]:
    """Subsets that keep each unit with probability 1/2: the bits of a hash, the same on every machine.

    Args:
        uid: The sample's: its bank depends on nothing but this, the seed and U.
        n_units: U.
        n_subsets: M.
        seed: Of the bank. A method that fits scores to random subsets has to draw others.
    """
    n_bits = n_subsets * n_units
    digest = hashlib.shake_256(f"mask bank/{seed}/{uid}".encode()).digest(-(-n_bits // 8))
    return np.unpackbits(np.frombuffer(digest, np.uint8), count=n_bits).reshape(n_subsets, n_units).astype(np.bool_)


def random_thresholds(uid: str, n_units: int, shape: tuple[int, int], seed: int = 0) -> Float[np.ndarray, "R M U"]:
    """Uniform numbers in [0, 1) for the soft measures: the bits of a hash, the same on every machine.

    Args:
        uid: The sample's: they depend on nothing but this, the seed and the shape.
        n_units: U.
        shape: R keep rates and M draws at each.
        seed: Of the run.
    """
    count = shape[0] * shape[1] * n_units
    digest = hashlib.shake_256(f"soft subsets/{seed}/{uid}".encode()).digest(4 * count)
    return (np.frombuffer(digest, "<u4") / 2**32).reshape(*shape, n_units)


def run_bank(
    model: ModelAdapter, encoded: Encoded, masks: Bool[np.ndarray, "M U"], options: InterventionOptions
) -> Float[np.ndarray, "M T"]:
    """Log-probability of each target token (natural logarithm, float32) with only the kept units of each mask.

    Of a sample with a foil it is one number (T = 1): how far the target's log-probability is above the foil's, each
    summed over its tokens. Positions that belong to no unit are left alone. Equal masks run once, and a mask that keeps
    everything is the plain pass, which runs anyway: 1 + D forward passes for D different other masks, batched by the
    engine, and as many for a foil that is a sequence of its own.

    Args:
        model: The adapter.
        encoded: One sample.
        masks: True = kept.
        options: How the others are taken away.

    Raises:
        AtmanBenchError: The masks are not of the sample's units.
        torch.OutOfMemoryError: Not even one perturbation fits.
    """
    if masks.ndim != 2 or masks.shape[1] != len(encoded.units):
        raise AtmanBenchError(
            f"masks keep or drop the {len(encoded.units)} units of sample {encoded.uid}: expected shape "
            f"(M, {len(encoded.units)}), received {masks.shape}"
        )
    distinct, which = np.unique(masks, axis=0, return_inverse=True)

    def losses(one: Encoded) -> Float[Tensor, "T D"]:
        perturbations = _perturbations(model, one, torch.from_numpy(distinct), options)
        return sweep(model, one, perturbations, options.engine_options()).losses.T

    found = torch.stack([*contrasted(encoded, losses)], dim=1)
    return -found.numpy()[which.ravel()]


def _perturbations(
    model: ModelAdapter, encoded: Encoded, present: Bool[Tensor, "P U"], options: InterventionOptions
) -> Perturbations:
    if options.intervention is Intervention.EMBEDDING:
        return replaced(model, encoded, present, options.baseline)
    factors = torch.where(at_positions(encoded, present), 1.0, 1 - options.f)
    return AttentionEdit(factors, options.form)
