"""Table 3: AtMan and Chefer on the vision encoder of BLIP."""

from atman_bench.paper.experiments._base import RECALL, Experiment, Preset, beats
from atman_bench.paper.experiments._runs import BLIP, UNKNOWN_OF_BLIP
from atman_bench.report._paper_scores import BLIP_OPENIMAGES

NO_WEIGHTS = "No BLIP is embedded: give its weights with the preset paper."

SPEC = Experiment(
    title="BLIP: AtMan and Chefer on the vision encoder",
    paper="Table 3: OpenImages cropped to the object, BLIP-VQA base",
    unknown=UNKNOWN_OF_BLIP,
    runs={Preset.PAPER: BLIP},
    left_out={Preset.TINY: NO_WEIGHTS, Preset.SMALL: NO_WEIGHTS},
    figures=("methods_bar",),
    reported=BLIP_OPENIMAGES,
    readings=(
        "The released notebook has AtMan's mAR and mAR_IQ the other way round, from at most 256 images; Chefer's are "
        "of all 27,876.",
    ),
    claims=(
        *beats("atman", "chefer", source="Table 3"),
        *beats("atman", "chefer", metric=RECALL, source="Table 3"),
    ),
)
