"""Table 2: gradient methods at the granularity of single pixels."""

from atman_bench.paper.experiments._base import Experiment, beats
from atman_bench.paper.experiments._runs import NO_GUIDED, PICTURES
from atman_bench.report._paper_scores import OPENIMAGES, REPORTED

SPEC = Experiment(
    title="Gradient methods on single pixels, against AtMan on patches",
    paper="Table 2: OpenImages cropped to the object, MAGMA 6B",
    runs=PICTURES,
    figures=("methods_bar",),
    reported=REPORTED[OPENIMAGES],
    readings=(NO_GUIDED,),
    claims=(
        *beats("atman", "input_x_gradient:pixels", "integrated_gradients:pixels", "gradcam:guided-pixels"),
        *beats("input_x_gradient", "input_x_gradient:pixels"),
        *beats("integrated_gradients", "integrated_gradients:pixels"),
    ),
)
