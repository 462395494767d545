"""Fig. 6: perturbations are independent, so they run in parallel."""

from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.kinds.costs import Costs

SPEC = Experiment(
    title="Perturbations per pass and workers against time",
    paper="Fig. 6: its numbers are not given",
    unknown=("content: not given; perturbations in a pass against time",),
    runs={
        Preset.TINY: Costs({"models": ["random:10M"], "tokens": [128], "batches": [1, 8, 32]}, "parallel"),
        Preset.SMALL: Costs(config="parallel"),
        Preset.PAPER: Costs(
            {
                **{"models": ["random:6.0B"], "tokens": [1024], "batches": [1, 4, 16, 64, 128], "workers": [1]},
                **{"dtype": "float16", "device": "cuda", "time_limit": 3600},
            },
            "parallel",
        ),
    },
    figures=("parallel",),
    readings=(
        "A.1 remarks that all tokens can be explained entirely in parallel: distributed amongst all workers of a "
        "cluster, and divided by the available batch size and by pipeline-parallelism. Efficiency is how much of that "
        "division is seen: 1 if twice as many perturbations at once halve the time.",
        "The remark is about devices that have room left. Here the workers share one device, so that two of them can "
        "gain only what one leaves idle, and a batch gains only while one perturbation does not fill the device. "
        "Perturbations of a batch start at the first position that one of them changes, which larger batches pay for. "
        "A cluster and pipeline-parallelism are not run.",
    ),
)
