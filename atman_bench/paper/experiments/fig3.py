"""Fig. 3b: three questions about one paragraph, explained by every method."""

from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.experiments._runs import (
    ATMAN,
    GPT_J_PARAMETERS,
    RELEASED,
    SQUAD_PAPER,
    SQUAD_SMALL,
    TINY_TEXT,
    UNKNOWN_OF_QUESTIONS,
)
from atman_bench.paper.kinds.examples import Example, Examples

_METHODS = [ATMAN, "chefer", "integrated_gradients", "input_x_gradient"]

SPEC = Experiment(
    title="Three questions about one paragraph",
    paper="Fig. 3b: the paragraph of SQuAD about the Normans, a 6B model",
    unknown=UNKNOWN_OF_QUESTIONS,
    runs={
        Preset.TINY: Examples(
            {"model": TINY_TEXT, "dataset": "facts", "methods": _METHODS},
            tuple(map(Example, ("facts-held_out-0-00000", "facts-held_out-0-00001", "facts-held_out-0-00003"))),
        ),
        # The age of two quarterbacks: short, and in the free half of the data.
        Preset.SMALL: Examples(
            {**SQUAD_SMALL, "methods": _METHODS},
            tuple(map(Example, ("56beb86b3aeaaa14008c92bd", "56beb86b3aeaaa14008c92be", "56beb86b3aeaaa14008c92bf"))),
        ),
        Preset.PAPER: Examples(
            {**SQUAD_PAPER, "methods": [RELEASED, *_METHODS[1:]]},
            tuple(map(Example, ("56ddde6b9a695914005b9628", "56ddde6b9a695914005b9629", "56ddde6b9a695914005b962a"))),
            parameters=GPT_J_PARAMETERS,
            units=153,
        ),
    },
    figures=("examples",),
    readings=("(a)(i) is fig3a; (a)(ii), maps with and without correlated suppression, is fig13.",),
)
