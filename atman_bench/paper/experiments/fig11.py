"""Fig. 11: the grid over kappa and f."""

from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.experiments._runs import TUNED, picture_sweep

_FIVE = {"methods.atman.kappa": [0.3, 0.5, 0.7, 0.9, None], "methods.atman.f": [0.1, 0.3, 0.5, 0.7, 0.9]}

SPEC = Experiment(
    title="The grid over the similarity threshold and the suppression factor",
    paper="Fig. 11: 256 images of OpenImages, MAGMA 6B; kappa 0.7 and f 0.9 were chosen from it",
    runs=picture_sweep("sweep-kappa-f", {}, _FIVE),
    figures=("sweep_heatmap",),
    claims=TUNED,
)
