"""Information flow routes (Ferrando & Voita 2024) of single targets, in one forward pass."""

from dataclasses import dataclass
from enum import StrEnum

import torch

from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import MethodSpec
from atman_bench.methods._flow import record_flow
from atman_bench.models._base import ModelAdapter


class Row(StrEnum):
    """Which row of the residual streams belongs to a target token."""

    PREDICT = "predict"
    """The row that predicts it, as in every other method."""
    OWN = "own"
    """Its own position, as FlashTrace publishes it."""

    def of(self, encoded: Encoded) -> list[int]:
        """The row of each target token."""
        return (encoded.target_rows + int(self is Row.OWN)).tolist()


@dataclass(frozen=True, kw_only=True)
class IfrConfig:
    """Options of IFR.

    Attributes:
        row: predict (the row that predicts a target token) or own (the token's own position).
    """

    row: Row = Row.PREDICT


def explain(model: ModelAdapter, encoded: Encoded, config: IfrConfig, seed: int) -> Attribution:
    """The share of each position in a target's row, summed over the layers: no products of layers."""
    rows = config.row.of(encoded)
    flow = record_flow(model, encoded, rows, "ifr")
    per_target = torch.stack([flow.into({row: 1.0})[: encoded.length] for row in rows])
    return Attribution.mean_of(encoded.pool(per_target))


SPEC = MethodSpec(
    summary="Information flow routes: proximity of attention's parts to the residual stream, summed over layers",
    version=1,
    config=IfrConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 2 + n_targets,
    default=False,
)
