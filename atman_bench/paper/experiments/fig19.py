"""Fig. 19: what counts as the same concept."""

from atman_bench.paper.experiments._base import Beats, Experiment, Maps
from atman_bench.paper.experiments._runs import UNKNOWN_OF_SWEEPS, picture_sweep

SPEC = Experiment(
    title="Kinds of similarity",
    paper="Fig. 19: images with MAGMA, maps only",
    unknown=(
        *UNKNOWN_OF_SWEEPS,
        "scale of the softmax: e.e over the square root of the width, no threshold",
    ),
    runs=picture_sweep("sweep-similarity", {}, {}, n=24),
    maps=Maps(n=4),
    claims=(
        Beats(
            "setting=cosine, kappa 0.7",
            "setting=softmax",
            words="cosine similarity beats the softmax",
            source="A.15, Fig. 19",
        ),
    ),
)
