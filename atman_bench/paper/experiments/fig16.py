"""Fig. 16: which chunks of a document an answer is taken from."""

from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.experiments._runs import GPT_J, GPT_J_LOADING, GPT_J_PARAMETERS, SMALL_TEXT, TINY_TEXT
from atman_bench.paper.kinds.documents import Documents

SPEC = Experiment(
    title="Questions to a document",
    paper="Fig. 16 and A.8: a contract of about 500 tokens in about 50 chunks; the model is not named",
    unknown=(
        "model: GPT-J; A.10 prefers chat-tuned ones",
        "f: a chunk is suppressed wholly, as in the released example",
        "sign rule: signed changes of the loss; the release squares them",
    ),
    runs={
        Preset.TINY: Documents(TINY_TEXT, "facts"),
        Preset.SMALL: Documents(SMALL_TEXT, "contract"),
        Preset.PAPER: Documents(GPT_J, "contract", loading=GPT_J_LOADING, parameters=GPT_J_PARAMETERS),
    },
    readings=(
        "A chunk ends after “.”, “,”, a line break or “ and” (A.8); one without a word joins the one before. A.8 "
        "suppresses chunks wholly (f = 1); f = 0.9 is the factor of the paper's other experiments. All columns of the "
        "figure have one colour scale. The last question is not answered by the text: no chunk of its column should "
        "stand out as those of the others do.",
    ),
)
