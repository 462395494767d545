"""Fig. 13: maps with and without correlated suppression."""

from atman_bench.paper.experiments._base import Experiment, Maps, beats
from atman_bench.paper.experiments._runs import PICTURES, SINGLE

SPEC = Experiment(
    title="Maps with and without correlated suppression",
    paper="Fig. 13: OpenImages, MAGMA",
    runs=PICTURES,
    maps=Maps(("atman", SINGLE), n=4),
    claims=beats("atman", SINGLE),
)
