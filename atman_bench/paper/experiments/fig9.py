"""Fig. 9: how much of an image its label covers."""

from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.experiments._runs import PICTURES, UNKNOWN_OF_IMAGES

SPEC = Experiment(
    title="Share of the image that is evidence",
    paper="Fig. 9: OpenImages cropped to the object, 56 % on average",
    unknown=UNKNOWN_OF_IMAGES,
    runs=PICTURES,
    figures=("coverage",),
)
