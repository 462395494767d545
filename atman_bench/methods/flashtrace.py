"""FlashTrace (2026): the information flow into a whole span of targets at once, and back through thinking tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor

from atman_bench.core.errors import ConfigError, SampleError
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import MethodSpec
from atman_bench.methods._flow import Flow, record_flow
from atman_bench.methods.ifr import IfrConfig
from atman_bench.models._base import ModelAdapter


class Through(StrEnum):
    """Which positions the flow is followed back through."""

    THINKING = "thinking"
    """The thinking tokens."""
    GENERATED = "generated"
    """These and the answer's."""


@dataclass(frozen=True, kw_only=True)
class FlashTraceConfig(IfrConfig):
    """Options of FlashTrace.

    Attributes:
        thinking: How many of the first target tokens are thinking; the others are the answer that is explained.
        hops: How often the flow into the positions of ``through`` is followed back; without thinking there is none.
        through: thinking, or generated (thinking and answer).
    """

    thinking: int = 0
    hops: int = 1
    through: Through = Through.THINKING

    def __post_init__(self) -> None:
        for name in ("thinking", "hops"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, received {getattr(self, name)}")


def explain(model: ModelAdapter, encoded: Encoded, config: FlashTraceConfig, seed: int) -> Attribution:
    """The share of each position in the sum of the answer's rows; all targets have one map.

    Raises:
        SampleError: All target tokens are thinking.
    """
    count = len(encoded.target_ids)
    if config.thinking >= count:
        raise SampleError(
            f"sample {encoded.uid}: thinking={config.thinking} leaves nothing of {count} target tokens to explain"
        )
    answer = config.row.of(encoded)[config.thinking :]
    own = (encoded.target_rows + 1).tolist()
    through = own[: config.thinking] if config.through is Through.THINKING else own
    # The last target's own position is part of the input only where its row is asked for.
    through = [position for position in through if position < max(encoded.length, answer[-1] + 1)]
    rows = answer + (through if config.hops else [])
    scores = follow(record_flow(model, encoded, rows, "flashtrace"), answer, through, config.hops)
    return Attribution(encoded.pool(scores[None, : encoded.length])[0])


def follow(flow: Flow, answer: Sequence[int], through: Sequence[int], hops: int) -> Float[Tensor, " S"]:
    """The flow into the answer's rows, plus that into the positions it came through, by the mass that reaches them."""
    vector = flow.into(dict.fromkeys(answer, 1.0))
    scores, reached = vector.clone(), 1.0
    places = torch.tensor(through, dtype=torch.long)
    for _ in range(hops if through else 0):
        mass = vector[places]
        if not mass.any():
            break
        reached *= float(mass.sum() / vector.sum())
        vector = flow.into(dict(zip(through, mass.tolist(), strict=True)))
        scores += reached * vector
    return scores


SPEC = MethodSpec(
    summary="FlashTrace: information flow into the whole target span, and back through thinking tokens",
    version=1,
    config=FlashTraceConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 3 + config.hops,
    default=False,
)
