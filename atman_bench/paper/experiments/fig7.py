"""Fig. 7: time and memory of every method, Chefer with minimal gradients, over model sizes and sequence lengths."""

from atman_bench.paper.experiments._base import Cheaper, Experiment
from atman_bench.paper.experiments._runs import FIG5_MODELS, PLAIN_PASSES, SIMULATED_MARKS, costs

_ATMAN = "atman, batch 1"

SPEC = Experiment(
    title="Time and peak memory of every method, Chefer with minimal gradients",
    paper="Fig. 7: sizes up to 34B (A.1), 128 to 1024 tokens, one 80 GB GPU; its numbers are not given",
    unknown=("sizes and lengths: not given but for 34B (A.1)", "tokens: random ids, one target token"),
    runs=costs(
        (
            *(*PLAIN_PASSES, "atman", "chefer", "input_x_gradient"),
            # All steps in one batch, as captum does by default; 144 image tokens, whatever the length.
            *("integrated_gradients:batched", "gradcam"),
        ),
        (*FIG5_MODELS, "random:30B", "random:34B"),
    ),
    figures=("scaling",),
    readings=(
        "A.1: with minimal gradients (of the attention maps alone) the key message of Fig. 5 remains the same; IxG "
        "needs more than 50 % more memory than a plain pass and fails for the experiments up to 34B; IG vastly runs "
        "out of memory; GradCAM, at 144 tokens, consumes as much as a forward pass of 1024 tokens.",
        SIMULATED_MARKS,
    ),
    claims=(
        Cheaper(_ATMAN, "chefer", "peak", "AtMan needs less memory than Chefer, minimal gradients", "A.1, Fig. 7"),
        Cheaper(_ATMAN, "input_x_gradient", "peak", "AtMan needs less memory than IxG", "A.1, Fig. 7"),
        Cheaper(_ATMAN, "integrated_gradients:batched", "peak", "AtMan needs less memory than IG", "A.1, Fig. 7"),
        Cheaper("plain:default", "input_x_gradient", "peak", "IxG needs more memory than a plain pass", "A.1"),
    ),
)
