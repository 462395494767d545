"""Fig. 13: maps with and without correlated suppression."""

from atman_bench.paper.experiments._base import Experiment, Maps
from atman_bench.paper.experiments._runs import PICTURES, SINGLE, UNKNOWN_OF_IMAGES

SPEC = Experiment(
    title="Maps with and without correlated suppression",
    paper="Fig. 13: OpenImages, MAGMA",
    unknown=(
        *UNKNOWN_OF_IMAGES,
        "photographs: not named; the first images of the run",
    ),
    runs=PICTURES,
    maps=Maps(("atman", SINGLE), n=4),
    readings=(
        "That correlated suppression beats single tokens is tested in fig12, the relevance at the edges in artefacts.",
    ),
)
