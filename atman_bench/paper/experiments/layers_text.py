"""Editing single layers and thirds of a model on questions: Fig. 18 has it for images only."""

from atman_bench.paper.experiments._base import Beats, Experiment
from atman_bench.paper.experiments._runs import text_sweep

_LAYERS = "methods.atman.layers"
_THIRDS_OF_30 = [list(range(first, first + 10)) for first in (0, 10, 20)]
_THIRDS_OF_28 = [list(range(9)), list(range(9, 19)), list(range(19, 28))]

SPEC = Experiment(
    title="Editing some layers instead of all, on questions",
    paper="Not in the paper, which has it for images (Fig. 18)",
    runs=text_sweep(
        {_LAYERS: [None, [0], [1], [2], [3], [0, 1], [2, 3]]},
        {_LAYERS: [None, [0], [7], [14], [21], [29], *_THIRDS_OF_30]},
        {_LAYERS: [None, *([layer] for layer in range(28)), *_THIRDS_OF_28]},
        n=(16, 8, 256),
    ),
    figures=("layers",),
    claims=(Beats("layers=all", "layers=0", words="all layers beat the first alone"),),
)
