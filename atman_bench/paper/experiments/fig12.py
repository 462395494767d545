"""Fig. 12: multiplicative suppression with and without correlated tokens."""

from atman_bench.paper.experiments._base import PRECISION, RECALL, Beats, Experiment
from atman_bench.paper.experiments._runs import FORMS, UNKNOWN_OF_SWEEPS

SPEC = Experiment(
    title="Multiplicative suppression, with and without correlated tokens",
    paper="Fig. 12: OpenImages, MAGMA 6B; its numbers are not given",
    unknown=UNKNOWN_OF_SWEEPS,
    runs=FORMS,
    figures=("form_histograms",),
    claims=(
        *(
            Beats("form=shifted, kappa=0.7", "form=shifted, kappa=single", metric, words, "A.4, Figs 12 and 13")
            for metric, words in (
                (PRECISION, "correlated suppression has a higher mAP than single tokens"),
                (RECALL, "correlated suppression has a higher mAR than single tokens"),
            )
        ),
        Beats("form=shifted, kappa=0.7", "form=literal, kappa=0.7", words="the released form beats Eq. 4 as printed"),
        Beats("form=shifted, kappa=0.7", "form=mask, kappa=0.7", words="suppression beats masking by -inf"),
    ),
)
