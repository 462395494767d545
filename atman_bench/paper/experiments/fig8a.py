"""Fig. 8a: how many tokens the answers have."""

from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.experiments._runs import TEXT, UNKNOWN_OF_QUESTIONS

SPEC = Experiment(
    title="Tokens of the answers in the text",
    paper="Fig. 8a: SQuAD, 3.4 tokens on average",
    unknown=UNKNOWN_OF_QUESTIONS,
    runs=TEXT,
    figures=("target_lengths",),
)
