"""Fig. 6: perturbations are independent, so they run in parallel."""

from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.kinds.costs import Costs

SPEC = Experiment(
    title="Perturbations per pass and workers against time",
    paper="Fig. 6: its numbers are not given",
    unknown=("content: not given; perturbations in a pass against time",),
    runs={
        Preset.TINY: Costs(
            {"models": ["random:10M"], "tokens": [256], "batches": [1, 8, 32], "atman_tokens": 64}, "parallel"
        ),
        Preset.SMALL: Costs(config="parallel"),
        Preset.PAPER: Costs(
            {"models": ["random:6.0B"], "tokens": [1024], "dtype": "float16", "device": "cuda", "workers": [1]},
            "parallel",
        ),
    },
    figures=("parallel",),
)
