"""Attention flow (Abnar & Zuidema): the maximum flow from a target's row, with attention as capacities (A.9)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import maximum_flow
from torch import Tensor

from atman_bench.core.errors import ConfigError, SampleError
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import MethodSpec
from atman_bench.methods._recorded import mean_attention
from atman_bench.models._base import ModelAdapter

UNIT = 1 << 24
"""Flows are computed in integers: a capacity of 1 is this many."""


@dataclass(frozen=True, kw_only=True)
class AttentionFlowConfig:
    """Options of attention flow.

    Attributes:
        max_tokens: Longer inputs are refused: each pair of target and position is a maximum flow of its own, on a graph
            with an edge for each attention weight.
    """

    max_tokens: int = 192

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens must be at least 1, received {self.max_tokens}")


def explain(model: ModelAdapter, encoded: Encoded, config: AttentionFlowConfig, seed: int) -> Attribution:
    """The flow from the last layer's row that predicts a target to each explained position of the input.

    Raises:
        SampleError: The input is longer than ``max_tokens``.
    """
    if encoded.length > config.max_tokens:
        raise SampleError(
            f"sample {encoded.uid}: attention flow runs a maximum flow for every token, and is limited to "
            f"{config.max_tokens} of them; received {encoded.length}: shorten the prompt or raise max_tokens"
        )
    graph = capacities(mean_attention(model, encoded))
    explained = (encoded.unit_of_position >= 0).nonzero().flatten().tolist()
    per_position = torch.zeros(len(encoded.rows_read), encoded.length)
    for index, row in enumerate(encoded.rows_read.tolist()):
        source = graph.shape[0] - encoded.length + row
        for position in explained:
            per_position[index, position] = maximum_flow(graph, source, position).flow_value / UNIT
    return Attribution.mean_of(encoded.pool(per_position))


def capacities(layers: list[Float[Tensor, "S S"]]) -> csr_array:
    """The graph of (L + 1) S nodes, l S + i being position i behind layer l; its edges are A + I, row-normalised."""
    length = len(layers[0])
    rows, columns, values = [], [], []
    for layer, attention in enumerate(layers):
        mixed = (attention + torch.eye(length)).numpy()
        mixed = np.rint(mixed / mixed.sum(-1, keepdims=True) * UNIT).astype(np.int32)
        row, column = mixed.nonzero()
        rows.append(row + (layer + 1) * length)
        columns.append(column + layer * length)
        values.append(mixed[row, column])
    nodes = (len(layers) + 1) * length
    joined = tuple(np.concatenate(part) for part in (rows, columns))
    return coo_array((np.concatenate(values), joined), shape=(nodes, nodes)).tocsr()


SPEC = MethodSpec(
    summary="Attention flow: maximum flow through the layers' attention, for short inputs (A.9)",
    version=1,
    config=AttentionFlowConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1,
    default=False,
)
