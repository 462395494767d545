"""LIME and SHAP, which A.9 calls impractical, on questions."""

from atman_bench.paper.experiments._base import Experiment, Passes, Preset, beats
from atman_bench.paper.experiments._runs import ATMAN, SINGLE, TINY_TEXT
from atman_bench.paper.kinds.evaluation import Evaluation

_METHODS = {ATMAN: {}, SINGLE: {}, "lime": {"n_samples": 256}, "kernel_shap": {"n_samples": 256}, "uniform": {}}
_MANY = 100_000

SPEC = Experiment(
    title="LIME and SHAP on questions: quality and forward passes",
    paper="A.9: LIME and SHAP “result in several 100.000 forward trials”; no numbers of their quality",
    runs={
        Preset.TINY: Evaluation({"model": TINY_TEXT, "dataset": "facts", "limit": 12, "methods": _METHODS}),
        Preset.SMALL: Evaluation({"methods": _METHODS}, config="small-sampling"),
    },
    left_out={Preset.PAPER: "The paper gives no numbers. Of any model: atman-bench eval --methods lime,kernel_shap"},
    figures=("methods_bar",),
    claims=(
        Passes("lime", _MANY, "LIME takes several 100,000 forward passes", "A.9"),
        Passes("kernel_shap", _MANY, "SHAP takes several 100,000 forward passes", "A.9"),
        *beats("atman", "lime", "kernel_shap"),
    ),
)
