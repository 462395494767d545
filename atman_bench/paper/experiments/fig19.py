"""Fig. 19: what counts as the same concept."""

from atman_bench.paper.experiments._base import Beats, Experiment, Maps
from atman_bench.paper.experiments._runs import picture_sweep

SPEC = Experiment(
    title="Kinds of similarity",
    paper="Fig. 19: images with MAGMA, maps only",
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
