"""Integrated suppression: AtMan's gradient along the path on which all explained units are suppressed together."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from atman_bench.attention.edit import NO_DERIVATIVE, AttentionEdit, Form, RowMin
from atman_bench.core.errors import ConfigError
from atman_bench.core.options import check_count
from atman_bench.core.records import Intervention
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._factor_gradients import FactorGradientConfig, factor_gradients
from atman_bench.methods._objective import attribution_of
from atman_bench.methods.atman import edited_layers
from atman_bench.models._base import ModelAdapter


@dataclass(frozen=True, kw_only=True)
class IntegratedSuppressionConfig(FactorGradientConfig):
    """Options of integrated suppression.

    Attributes:
        points: Points of the Gauss-Legendre rule, each a forward and a backward pass.
        depth: How far all units are suppressed at the end of the path: their factor is 1 - depth there.
        form: How scores are edited: shifted, literal (Eq. 4) or log (Eq. 7).
        row_min: Columns that the shifted form takes a row's minimum over: visible, or all as the released code.
        layers: Layers that are edited (0 = first); None edits all.
    """

    points: int = 8
    depth: float = 1.0
    form: Form = Form.SHIFTED
    row_min: RowMin = RowMin.VISIBLE
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("points", self.points)
        if not 0 < self.depth <= 1:
            raise ConfigError(f"depth is the suppression at the end: expected above 0 to 1, received {self.depth}")
        if self.form is Form.MASK:
            raise ConfigError(NO_DERIVATIVE)


def explain(model: ModelAdapter, encoded: Encoded, config: IntegratedSuppressionConfig, seed: int) -> Attribution:
    """-depth x the mean of dL/dc along c = 1 - depth t of all explained positions, t from 0 to 1.

    Scores add up to the loss with all units suppressed minus the plain loss (completeness), as far as the points tell:
    integrated gradients in the space of factors, where the end of the path is a suppression and no made-up embedding.
    They are no approximation of AtMan's, which suppresses one unit while all others are there.
    """
    along, weights = path_points(config.points)

    def each(one: Encoded) -> Float[Tensor, "R U"]:
        suppressed = config.depth * (one.unit_of_position >= 0)
        objectives = config.objectives(one)
        # Every objective at every point.
        factors = (1 - along[:, None] * suppressed).repeat_interleave(len(objectives), 0)
        weighted = (weights[:, None, None] * objectives).flatten(0, 1)
        edit = AttentionEdit(factors, config.form, config.row_min, edited_layers(model, config.layers))
        found = factor_gradients(model, one, edit, weighted, config).factors.sum(1)
        integral = found.view(config.points, len(objectives), -1).sum(0)
        return one.pool(-config.depth * integral)

    return attribution_of(encoded, each)


def path_points(count: int) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Points and weights of the Gauss-Legendre rule on [0, 1]: the ends are no points, the weights add up to 1."""
    points, weights = np.polynomial.legendre.leggauss(count)
    return torch.tensor((points + 1) / 2, dtype=torch.float32), torch.tensor(weights / 2, dtype=torch.float32)


def label(config: IntegratedSuppressionConfig) -> str:
    """Name of a variant: its form always, then what differs from the defaults."""
    parts = [config.form.value]
    if config.form is Form.SHIFTED and config.row_min is not RowMin.VISIBLE:
        parts.append(f"min-{config.row_min}")
    if config.points != IntegratedSuppressionConfig.points:
        parts.append(f"points{config.points}")
    if config.depth != IntegratedSuppressionConfig.depth:
        parts.append(f"depth{config.depth:g}")
    if config.layers is not None:
        parts.append("layers" + ".".join(map(str, config.layers)))
    if config.per_target:
        parts.append("per_target")
    return "-".join(parts)


SPEC = MethodSpec(
    summary="Integrated suppression: gradients of the edit on the path that suppresses all units together",
    version=1,
    config=IntegratedSuppressionConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: config.points * config.forwards(n_targets),
    label=label,
    variants={
        **{form.value: {"form": form.value} for form in Form if form is not Form.MASK},
        "points4": {"points": 4},
        "points16": {"points": 16},
        "depth0.9": {"depth": 0.9},
        "per_target": {"per_target": True},
    },
    default=False,
    contrast=Contrast.SPAN,
    perturbs=lambda options: Intervention.ATTENTION,
)
