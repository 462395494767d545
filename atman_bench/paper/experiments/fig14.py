"""Fig. 14: additive suppression (Eq. 7) with and without correlated tokens."""

from atman_bench.paper.experiments._base import Beats, Experiment
from atman_bench.paper.experiments._runs import FORMS

SPEC = Experiment(
    title="Additive suppression (Eq. 7), with and without correlated tokens",
    paper="Fig. 14: OpenImages, MAGMA 6B; its numbers are not given",
    runs=FORMS,
    figures=("form_histograms",),
    claims=(
        Beats("form=log, kappa=single", "form=shifted, kappa=single", words="without correlation, additive is better"),
        Beats("form=shifted, kappa=0.7", "form=log, kappa=0.7", words="with correlation, multiplicative is better"),
    ),
)
