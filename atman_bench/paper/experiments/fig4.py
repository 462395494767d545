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
    left_out={
        Preset.SMALL: "Caltech-101 annotates one object of each photograph. CCP annotates several, but its photographs "
        "are not published here; with a copy of it: atman-bench eval --config photos --dataset ccp --data FOLDER "
        "--named 3, then atman-bench maps."
    },
    maps=Maps(("atman", "chefer", "gradcam"), n=3, one_picture=True),
)
