"""Fig. 2a: the loss of a target when each token of a sentence is suppressed."""

from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.experiments._runs import GPT_J, GPT_J_LOADING, GPT_J_PARAMETERS, SMALL_TEXT, TINY_TEXT
from atman_bench.paper.kinds.sentence import Sentence

_BURGERS = ("Ben likes to eat burgers and", " fries", "burgers")

SPEC = Experiment(
    title="Which suppressed token makes the target unlikely?",
    paper="Fig. 2a: an illustration, its model is not named",
    unknown=("model: GPT-J; the figure is called an illustration",),
    runs={
        # The embedded model knows nothing but such paragraphs.
        Preset.TINY: Sentence(
            TINY_TEXT,
            "Orion Studios was founded by Fabian Pemberton. The staff of Beacon Trading counts 96 workers. Comet "
            "Foundry employs 26 workers. Orion Studios employs 56 workers. The founder of Beacon Trading is Hector "
            "Silverman. The founder of Comet Foundry is Nestor Hathaway. Q: Who founded Comet Foundry? A:",
            " Nestor Hathaway",
            "Nestor Hathaway",
        ),
        Preset.SMALL: Sentence(SMALL_TEXT, *_BURGERS),
        Preset.PAPER: Sentence(GPT_J, *_BURGERS, loading=GPT_J_LOADING, parameters=GPT_J_PARAMETERS),
    },
    readings=(
        "The paper's cross entropy of “fries” after “Ben likes to eat burgers and”: 1.72 unperturbed; with one word "
        "suppressed: Ben 1.86, likes 1.36, to 2.29, eat 2.2, burgers 14.2, and 0.89.",
    ),
)
