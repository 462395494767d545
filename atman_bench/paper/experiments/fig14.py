"""Fig. 14: additive suppression (Eq. 7) with and without correlated tokens."""

from atman_bench.paper.experiments._base import PRECISION, RECALL, Beats, Experiment
from atman_bench.paper.experiments._runs import FORMS, UNKNOWN_OF_SWEEPS

SPEC = Experiment(
    title="Additive suppression (Eq. 7), with and without correlated tokens",
    paper="Fig. 14: OpenImages, MAGMA 6B; its numbers are not given",
    unknown=(
        *UNKNOWN_OF_SWEEPS,
        "f in Eq. 7: log(1 - f), and log(1 - f cos) of neighbours; log f itself would be nearly nothing",
    ),
    runs=FORMS,
    figures=("form_histograms",),
    claims=(
        *(
            Beats(left, right, metric, f"{words} ({heading})", "A.5, Fig. 14")
            for metric, heading in ((PRECISION, "mAP"), (RECALL, "mAR"))
            for left, right, words in (
                ("form=log, kappa=single", "form=shifted, kappa=single", "without correlation, additive is better"),
                ("form=shifted, kappa=0.7", "form=log, kappa=0.7", "with correlation, multiplicative is better"),
            )
        ),
    ),
)
