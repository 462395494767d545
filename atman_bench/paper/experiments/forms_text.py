"""The forms of the edit on questions: Figs 12 and 14 have them for images only."""

from atman_bench.paper.experiments._base import Beats, Experiment
from atman_bench.paper.experiments._runs import text_sweep

SPEC = Experiment(
    title="Forms of suppression with and without correlated tokens, on questions",
    paper="Not in the paper, which compares them on images (Figs 12 and 14)",
    # The questions of configs/small-forms.yaml.
    runs=text_sweep({}, {}, {}, n=(16, 24, 256), config="sweep-forms", max_tokens=160),
    figures=("form_histograms",),
    claims=(
        Beats("form=shifted, kappa=0.7", "form=shifted, kappa=single", words="correlated suppression is better"),
        Beats("form=shifted, kappa=0.7", "form=literal, kappa=0.7", words="the released form beats Eq. 4 as printed"),
        Beats("form=shifted, kappa=0.7", "form=log, kappa=0.7", words="multiplicative beats additive (Eq. 7)"),
        Beats("form=shifted, kappa=0.7", "form=mask, kappa=0.7", words="suppression beats masking"),
    ),
)
