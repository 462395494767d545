"""Fig. 3a (i): one patch suppressed alone, with its similar patches, and a patch elsewhere with its own."""

from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.experiments._runs import ATMAN, SMALL_PICTURES, TINY_PICTURES
from atman_bench.paper.kinds.neighbours import NeighbourRun

SPEC = Experiment(
    title="One patch of an object, its similar patches, and a patch elsewhere",
    paper="Fig. 3a (i): a photograph of a panda; neither its file nor its numbers are given",
    runs={
        Preset.TINY: NeighbourRun(
            {"model": TINY_PICTURES, "dataset": "scenes", "methods": [ATMAN]}, "scenes-held_out-0-00004/diamond"
        ),
        Preset.SMALL: NeighbourRun(
            {"model": SMALL_PICTURES, "dataset": "caltech101", "methods": [ATMAN]}, "umbrella/image_0037"
        ),
    },
    left_out={Preset.PAPER: "The photograph is not published."},
    readings=(
        "One example, to look at: the first of fig13 at the preset tiny, of fig1a at small. A and B are the patch of "
        "the object whose suppression with similar patches changes the loss most, C is the patch outside of it that "
        "has most similar patches and is not similar to it. (a)(ii), maps with and without correlated suppression, is "
        "fig13, and (b) is fig3.",
    ),
)
