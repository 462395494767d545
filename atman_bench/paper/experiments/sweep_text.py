"""The grid over kappa and f on questions: Fig. 11 has it for images only."""

from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.experiments._runs import TUNED, text_sweep

_KAPPA, _F = "methods.atman.kappa", "methods.atman.f"

SPEC = Experiment(
    title="The grid over the similarity threshold and the suppression factor, on questions",
    paper="Not in the paper, which tunes on images (Fig. 11) and takes kappa 0.7 and f 0.9 for text too",
    runs=text_sweep(
        {_KAPPA: [0.3, 0.7, None], _F: [0.1, 0.5, 0.9]},
        {_KAPPA: [0.3, 0.5, 0.7, 0.9, None], _F: [0.1, 0.3, 0.5, 0.7, 0.9]},
        {},
        n=(8, 8, 256),
        config="sweep-kappa-f",
    ),
    figures=("sweep_heatmap",),
    claims=TUNED,
)
