"""Fig. 2b: steering a generation by amplifying or suppressing words of the prompt."""

from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.experiments._runs import GPT_J, GPT_J_LOADING, GPT_J_PARAMETERS, SMALL_TEXT, TINY_TEXT
from atman_bench.paper.kinds.steering import Steering

_LUCAS = (
    "Hello, my name is Lucas. I like soccer and math. Since the last few years, I've been working on",
    ("soccer", "math"),
    (0.1, 2.0),
)

SPEC = Experiment(
    title="Amplified and suppressed words of the prompt change what the model writes",
    paper="Fig. 2b: model and factors are not named",
    unknown=(
        "model: GPT-J",
        "factors: one that amplifies and one that suppresses",
        "decoding: greedy",
    ),
    runs={
        # The embedded model knows nothing but such paragraphs.
        Preset.TINY: Steering(
            TINY_TEXT,
            "Meridian Mills was founded by Karin Abernathy. The founder of Atlas Mills is Ulrich Blackwood. Q: Who "
            "founded Atlas Mills? A:",
            ("Karin", "Ulrich"),
            (0.1, 2.0),
        ),
        Preset.SMALL: Steering(SMALL_TEXT, *_LUCAS),
        Preset.PAPER: Steering(GPT_J, *_LUCAS, loading=GPT_J_LOADING, parameters=GPT_J_PARAMETERS),
    },
)
