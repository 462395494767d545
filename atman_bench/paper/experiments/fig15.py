"""Fig. 15: maps of all methods, gradient methods on patches and on pixels."""

from atman_bench.paper.experiments._base import Experiment, Maps
from atman_bench.paper.experiments._runs import PICTURES, UNKNOWN_OF_IMAGES

SPEC = Experiment(
    title="Maps of all methods",
    paper="Fig. 15: OpenImages, MAGMA",
    unknown=(
        *UNKNOWN_OF_IMAGES,
        "photographs: not named; the first images of the run",
        "prompt: without the blank at its end that A.7 prints; it is the target's first character",
    ),
    runs=PICTURES,
    maps=Maps(n=4),
)
