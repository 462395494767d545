"""Table 1b: how well methods point at the object that an image is named by."""

from atman_bench.paper.experiments._base import Experiment, beats
from atman_bench.paper.experiments._runs import PICTURES, SINGLE
from atman_bench.report._paper_scores import OPENIMAGES, REPORTED

SPEC = Experiment(
    title="Explaining what an image shows: mAP and mAR of all methods",
    paper="Table 1b: OpenImages cropped to the object, MAGMA 6B",
    runs=PICTURES,
    figures=("methods_bar",),
    reported=REPORTED[OPENIMAGES],
    claims=(
        *beats("atman", "chefer", "input_x_gradient", "integrated_gradients", "gradcam", "uniform", "centre"),
        *beats("atman", SINGLE),
    ),
)
