"""Raw attention of the last layer, as a baseline."""

from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import MethodSpec, NoOptions
from atman_bench.methods._recorded import mean_attention
from atman_bench.models._base import ModelAdapter


def explain(model: ModelAdapter, encoded: Encoded, config: NoOptions, seed: int) -> Attribution:
    """Last layer, mean over heads, at the rows that predict the target."""
    return Attribution.mean_of(encoded.pool(mean_attention(model, encoded)[-1][encoded.rows_read]))


SPEC = MethodSpec(
    summary="Last-layer attention, mean over heads, at the target's rows (baseline)",
    version=1,
    config=NoOptions,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1,
)
