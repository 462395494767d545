"""Fig. 5: time and memory of AtMan and Chefer, with a full backward pass, over model sizes and sequence lengths."""

from atman_bench.paper.experiments._base import Cheaper, Experiment
from atman_bench.paper.experiments._runs import FIG5_MODELS, PLAIN_PASSES, SIMULATED_MARKS, costs

SPEC = Experiment(
    title="Time and peak memory of AtMan and of Chefer with a full backward pass",
    paper="Fig. 5: 6.0B to 17.3B parameters, 128 to 1024 tokens, one 80 GB GPU",
    unknown=(
        "tokens: random ids, one target token",
        "models: GPT-J's layer, repeated; surplus layers are random",
    ),
    runs=costs((*PLAIN_PASSES, "atman", "chefer:full"), FIG5_MODELS),
    figures=("scaling",),
    readings=(
        "Read off the paper's figure at 1024 tokens: AtMan 160, 202, 269 and 344 s at 15 GB (6.0B) to 39 GB (17.3B); a "
        "plain pass 14.4 to 37.9 GB. Chefer at 128 tokens 27.8, 38.4, 55.9 and 73.3 GB; it does not fit at 17.3B from "
        "512 tokens on, and at 13.1B from 768 on.",
        SIMULATED_MARKS,
    ),
    claims=(
        Cheaper("atman, batch 1", "chefer:full", "peak", "AtMan needs less memory than Chefer, full pass", "Fig. 5"),
        Cheaper("chefer:full", "atman, batch 1", "time", "Chefer takes less time than AtMan, pass by pass", "Fig. 5"),
    ),
)
