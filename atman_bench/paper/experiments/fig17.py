"""Fig. 17: questions about images; words and patches explained together."""

from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.experiments._runs import ATMAN, TINY_PICTURES
from atman_bench.paper.kinds.examples import Example, Examples

_COLOUR, _THERE, _PLACE = "scenes-held_out-0-00000", "scenes-held_out-0-00001", "scenes-held_out-0-00014"

SPEC = Experiment(
    title="Questions about images: answers and words of the question",
    paper="Fig. 17: four photographs with MAGMA; their files are not published",
    runs={
        Preset.TINY: Examples(
            {
                "model": TINY_PICTURES,
                "dataset": "scenes",
                "datasets": {"scenes": {"task": "questions"}},
                "methods": [ATMAN, "integrated_gradients"],
            },
            (
                Example(_COLOUR),
                Example(_THERE),
                # Words of a question are explained where the model predicts them, from what stands before.
                Example(_PLACE, prompt="Q: Is the", target=" triangle"),
                Example(_PLACE, prompt="Q: Is the triangle to the left of the", target=" ring"),
                Example(_PLACE),
            ),
        )
    },
    left_out={
        Preset.SMALL: "The small image model names objects; it answers no questions.",
        Preset.PAPER: "The photographs are not published. Of any image: atman-bench explain --model magma:FILE,noln "
        "--image FILE --explained both --prompt 'Q: Does the man ride a horse? A:' --png FILE",
    },
    figures=("examples",),
    readings=(
        "The paper asks for a colour and whether something is there (a), counts animals and explains that word (b), "
        "and asks about a horse where a bike is, explaining “man” and what he rides (c, d). The generated scenes have "
        "questions of the kinds of a, c and d. Nothing is counted in them, and the model was never asked to count, so "
        "b has no counterpart: the objects of the last question are explained where they are named, as in c and d.",
    ),
)
