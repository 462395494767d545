"""Attention weights of a plain pass, for the methods that only read them."""

import torch
from torch import Tensor

from atman_bench.attention.host import Recorder
from atman_bench.models._base import ModelAdapter
from atman_bench.tensors import Encoded


@torch.inference_mode()
def mean_attention(model: ModelAdapter, encoded: Encoded) -> list[Tensor]:
    """Attention of each layer averaged over heads, (S, S) float32 on the CPU."""
    recorder = Recorder()
    with model.host.applied(recorder):
        model.run(encoded, rows=encoded.target_rows.tolist())
    return [weights[0].float().mean(0).cpu() for weights in recorder.weights]
