"""The rollout numbers of A.9, on images."""

from atman_bench.paper.experiments._base import PRECISION, RECALL, Beats, Experiment, beats
from atman_bench.paper.experiments._runs import PICTURES, UNKNOWN_OF_IMAGES
from atman_bench.report._paper_scores import OPENIMAGES, REPORTED

SPEC = Experiment(
    title="Attention rollout on images",
    paper="A.9: OpenImages, MAGMA 6B: mAP 43.6 and mAR 1.3, against 65.5 and 13.7 (Table 1b: 15.7) of AtMan",
    unknown=(
        *UNKNOWN_OF_IMAGES,
        "layers: all; the released path for images reads one layer, and columns that are one off",
    ),
    runs=PICTURES,
    figures=("methods_bar",),
    reported=REPORTED[OPENIMAGES],
    readings=(
        "Rollout is in the table as it is, and with 0 at the last patch (without-last-1). In the paper (mAP 43.6, "
        "mAR 1.3) most attention gathers at the last two patches, and scores rise without the last one; by how much is "
        "not said.",
    ),
    claims=(
        *beats("atman", "rollout", source="A.9"),
        *beats("atman", "rollout", metric=RECALL, source="A.9"),
        *(
            Beats(
                "rollout:without-last-1",
                "rollout",
                metric,
                f"rollout's {heading} rises when the last patch is left out",
                "A.9",
            )
            for metric, heading in ((PRECISION, "mAP"), (RECALL, "mAR"))
        ),
    ),
)
