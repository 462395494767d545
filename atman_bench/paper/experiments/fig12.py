"""Fig. 12: multiplicative suppression with and without correlated tokens."""

from atman_bench.paper.experiments._base import Beats, Experiment
from atman_bench.paper.experiments._runs import FORMS

SPEC = Experiment(
    title="Multiplicative suppression, with and without correlated tokens",
    paper="Fig. 12: OpenImages, MAGMA 6B; its numbers are not given",
    runs=FORMS,
    figures=("form_histograms",),
    claims=(
        Beats(
            "form=shifted, kappa=0.7", "form=shifted, kappa=single", words="correlated suppression is clearly better"
        ),
        Beats("form=shifted, kappa=0.7", "form=literal, kappa=0.7", words="the released form beats Eq. 4 as printed"),
        Beats("form=shifted, kappa=0.7", "form=mask, kappa=0.7", words="suppression beats masking"),
    ),
)
