"""Fig. 1a: a map for every phrase of one generation, of text and image together."""

from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.experiments._runs import ATMAN, SMALL_PICTURES, TINY_PICTURES
from atman_bench.paper.kinds.examples import Example, Examples

SPEC = Experiment(
    title="Every phrase of a generation, from one sweep",
    paper="Fig. 1a: a painting with MAGMA, four phrases of its caption",
    runs={
        # The embedded model makes up a question about the image, and its answer.
        Preset.TINY: Examples(
            {
                "model": TINY_PICTURES,
                "dataset": "scenes",
                "datasets": {"scenes": {"task": "questions"}},
                "methods": [ATMAN],
            },
            (
                Example(
                    "scenes-held_out-0-00000", prompt="Q:", generated=True, phrases=("What color", "the arrow", "green")
                ),
                Example(
                    "scenes-held_out-0-00004", prompt="Q:", generated=True, phrases=("What color", "the heart", "red")
                ),
                Example(
                    "scenes-held_out-0-00014", prompt="Q:", generated=True, phrases=("Is there", "a cyan cross", "yes")
                ),
            ),
        ),
        Preset.SMALL: Examples(
            {"model": SMALL_PICTURES, "dataset": "caltech101", "methods": [ATMAN]},
            tuple(Example(uid, generated=True) for uid in ("umbrella/image_0037", "beaver/image_0023")),
        ),
    },
    left_out={
        Preset.PAPER: "The painting is not published. Of any image: atman-bench explain --model magma:FILE,noln "
        "--image FILE --explained both --prompt 'This is a painting of ' --phrases 'a lonely cabin; the geese' "
        "--png FILE"
    },
    figures=("phrases",),
    readings=(
        "The paper's phrases: “a lonely cabin”, “on the edge of a lake”, “with a truck nearby”, “and the geese”.",
    ),
)
