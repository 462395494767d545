"""Table 1b: how well methods point at the object that an image is named by."""

from atman_bench.paper.experiments._base import RECALL, Experiment, beats
from atman_bench.paper.experiments._runs import PICTURES, UNKNOWN_OF_IMAGES
from atman_bench.report._paper_scores import OPENIMAGES, REPORTED

_OTHERS = ("chefer", "input_x_gradient", "integrated_gradients", "gradcam")

SPEC = Experiment(
    title="Explaining what an image shows: mAP and mAR of all methods",
    paper="Table 1b: OpenImages cropped to the object, MAGMA 6B",
    unknown=UNKNOWN_OF_IMAGES,
    runs=PICTURES,
    figures=("methods_bar",),
    reported=REPORTED[OPENIMAGES],
    claims=(
        *beats("atman", *_OTHERS, source="Table 1b"),
        *beats("atman", *_OTHERS, metric=RECALL, source="Table 1b"),
        *beats("atman", "uniform", "centre"),
    ),
)
