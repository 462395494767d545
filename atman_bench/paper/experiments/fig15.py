"""Fig. 15: maps of all methods, gradient methods on patches and on pixels."""

from atman_bench.paper.experiments._base import Experiment, Maps
from atman_bench.paper.experiments._runs import PICTURES

SPEC = Experiment(
    title="Maps of all methods",
    paper="Fig. 15: OpenImages, MAGMA",
    runs=PICTURES,
    maps=Maps(n=4),
)
