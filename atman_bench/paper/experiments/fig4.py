"""Fig. 4: two targets on one image have different maps."""

from atman_bench.paper.experiments._base import Experiment, Maps, Preset
from atman_bench.paper.experiments._runs import PICTURES, UNKNOWN_OF_IMAGES

SPEC = Experiment(
    title="Targets of one image",
    paper="Fig. 4: photographs with MAGMA; their files are not published",
    unknown=(
        *UNKNOWN_OF_IMAGES,
        "photographs: not published; images of the data instead",
    ),
    runs={preset: run for preset, run in PICTURES.items() if preset is not Preset.SMALL},
    left_out={Preset.SMALL: "The photographs show one object each."},
    maps=Maps(("atman", "chefer", "gradcam"), n=3, one_picture=True),
)
