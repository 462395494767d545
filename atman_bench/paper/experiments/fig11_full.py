"""Fig. 11 on all 121 points of the released grid where ``fig11`` has 25, with fewer images instead."""

from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.experiments._runs import TUNED, picture_sweep

_ELSEWHERE = "fig11 has the whole grid at this preset."

SPEC = Experiment(
    title="The whole grid over the similarity threshold and the suppression factor",
    paper="Fig. 11: 256 images of OpenImages, MAGMA 6B",
    runs={Preset.SMALL: picture_sweep("sweep-kappa-f", {}, {}, n_small=12)[Preset.SMALL]},
    left_out={Preset.TINY: _ELSEWHERE, Preset.PAPER: _ELSEWHERE},
    figures=("sweep_heatmap",),
    claims=TUNED,
)
