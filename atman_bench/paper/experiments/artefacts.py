"""Where maps gather relevance whatever the picture shows: edges, and the ends of the sequence (A.1, A.4, A.9)."""

from atman_bench.paper.experiments._base import Experiment, Gathers, Region
from atman_bench.paper.experiments._runs import PICTURES, SINGLE, UNKNOWN_OF_IMAGES
from atman_bench.paper.kinds.positions import Positions

SPEC = Experiment(
    title="Relevance at the edges and at the ends of the sequence of patches",
    paper="A.1, A.4 and A.9: seen in maps of MAGMA on OpenImages, without numbers",
    unknown=(
        *UNKNOWN_OF_IMAGES,
        "measure: the share of a map's positive relevance; the paper describes maps without one",
    ),
    runs={preset: Positions(run) for preset, run in PICTURES.items()},
    claims=(
        Gathers(
            "rollout",
            None,
            Region.LAST_TWO,
            "rollout gathers at the last two patches",
            "A.9",
        ),
        Gathers("chefer", None, Region.EDGE, "Chefer's maps have artefacts at the edges", "A.1"),
        Gathers("chefer", "atman", Region.EDGE, "Chefer's artefacts at the edges are more severe than AtMan's", "A.1"),
        Gathers(
            SINGLE,
            "atman",
            Region.EDGE,
            "single tokens are often marked at the edges, which correlated suppression prevents",
            "A.4, Fig. 13",
        ),
    ),
)
