"""Attention weights of a plain pass, for the methods that only read them."""

import torch
from torch import Tensor

from atman_bench.attention.patching import Recorder
from atman_bench.core.tensors import Encoded
from atman_bench.models._base import ModelAdapter, Pass


@torch.inference_mode()
def mean_attention(model: ModelAdapter, encoded: Encoded) -> list[Tensor]:
    """Attention of each layer averaged over heads, (S, S) float32 on the CPU."""
    recorder = Recorder()
    with model.host.applied(recorder):
        model.run(encoded, Pass(rows=encoded.target_rows.tolist()))
    return [weights[0].float().mean(0).cpu() for weights in recorder.weights]
