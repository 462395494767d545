"""The rollout numbers of A.9, on pictures."""

from atman_bench.experiments._base import Experiment, beats
from atman_bench.experiments._runs import PICTURES
from atman_bench.report._paper import OPENIMAGES, REPORTED

SPEC = Experiment(
    title="Attention rollout on pictures",
    paper="A.9: OpenImages, MAGMA 6B: mAP 43.6 and mAR 1.3, against 65.5 and 13.7 (Table 1b: 15.7) of AtMan",
    runs=PICTURES,
    figures=("methods_bar",),
    reported=REPORTED[OPENIMAGES],
    claims=beats("atman", "rollout"),
)
