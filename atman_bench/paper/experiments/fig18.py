"""Fig. 18: editing single layers."""

from atman_bench.paper.experiments._base import PRECISION, RECALL, Beats, Experiment
from atman_bench.paper.experiments._runs import UNKNOWN_OF_SWEEPS, picture_sweep

_LAYERS = "methods.atman.layers"
_F = "methods.atman.f"
_OF_FOUR = {_F: [0.9], _LAYERS: [None, [0], [1], [2], [3], [0, 1], [2, 3]]}
"""Both image models that run on a CPU have four layers: each alone, and the halves."""

SPEC = Experiment(
    title="Editing single layers instead of all",
    paper="Fig. 18: a subset of OpenImages, MAGMA 6B, 28 layers",
    unknown=(
        *UNKNOWN_OF_SWEEPS,
        "f: that of the other experiments, and the lower one of the released grid over layers",
    ),
    runs=picture_sweep(
        "sweep-layers",
        _OF_FOUR,
        _OF_FOUR,
        n=24,
    ),
    figures=("layers",),
    readings=(
        "The paper: all layers together have mAP 66, mAR 24 (caption); the second half of the layers matters more.",
    ),
    claims=(
        *(
            Beats(
                "f=0.9, layers=all",
                f"f=0.9, layers={layer}",
                metric,
                f"all layers have a higher {heading} than layer {layer} alone",
                "A.13, Fig. 18",
            )
            for metric, heading in ((PRECISION, "mAP"), (RECALL, "mAR"))
            for layer in range(4)
        ),
        Beats(
            "f=0.9, layers=2-3",
            "f=0.9, layers=0-1",
            words="the second half of the layers matters more",
            source="A.15, Fig. 18",
        ),
    ),
)
