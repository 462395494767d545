"""Fig. 7: memory of every method over model sizes."""

from atman_bench.paper.experiments._base import Cheaper, Experiment, Preset
from atman_bench.paper.experiments._runs import COSTS

SPEC = Experiment(
    title="Peak memory of every method over model sizes",
    paper="Fig. 7: 0.1B to 34B parameters, one 80 GB GPU",
    unknown=("tokens: random ids, one target token",),
    runs={preset: run for preset, run in COSTS.items() if preset is not Preset.SMALL},
    left_out={Preset.SMALL: "Every method on SmolLM2 is in configs/scale/smollm2.yaml: atman-bench scale -c smollm2."},
    figures=("scaling",),
    readings=("The paper: IxG needs more than 50 % more memory than a plain pass (A.1) and does not fit at 34B.",),
    claims=tuple(
        Cheaper("atman, batch 1", other, "peak", f"AtMan needs less memory than {name}")
        for other, name in (("chefer", "Chefer"), ("input_x_gradient", "IxG"))
    ),
)
