"""Fig. 5: time and memory of AtMan and Chefer over model sizes and sequence lengths."""

from atman_bench.paper.experiments._base import Cheaper, Experiment
from atman_bench.paper.experiments._runs import COSTS

SPEC = Experiment(
    title="Time and peak memory over model sizes and sequence lengths",
    paper="Fig. 5: 6.0B to 17.3B parameters, 128 to 1024 tokens, one 80 GB GPU",
    unknown=(
        "tokens: random ids, one target token",
        "models: GPT-J's layer, repeated; surplus layers are random",
    ),
    runs=COSTS,
    figures=("scaling",),
    readings=(
        "Read off the paper's figure at 1024 tokens: AtMan 160, 202, 269 and 344 s at 15 GB (6.0B) to 39 GB (17.3B); a "
        "plain pass 14.4 to 37.9 GB. Chefer at 128 tokens 27.8, 38.4, 55.9 and 73.3 GB; it does not fit at 17.3B from "
        "512 tokens on, and at 13.1B from 768 on. The paper's numbers include the weights, those below do not.",
    ),
    claims=(
        Cheaper("atman, batch 1", "chefer", "peak", "AtMan needs less memory than Chefer"),
        Cheaper("chefer", "atman, batch 1", "time", "Chefer takes less time than AtMan"),
    ),
)
