"""Table 1a: how well methods point at the answers of questions in text."""

from atman_bench.paper.experiments._base import RECALL, Beats, Experiment, beats
from atman_bench.paper.experiments._runs import SINGLE, TEXT, UNKNOWN_OF_QUESTIONS
from atman_bench.report._paper_scores import REPORTED

SPEC = Experiment(
    title="Explaining answers to questions: mAP and mAR of all methods",
    paper="Table 1a: SQuAD, a 6B model",
    unknown=UNKNOWN_OF_QUESTIONS,
    runs=TEXT,
    figures=("methods_bar",),
    reported=REPORTED["squad"],
    claims=(
        *beats("atman", "chefer", "input_x_gradient", "integrated_gradients", source="Table 1a"),
        Beats("chefer", "atman", RECALL, source="Table 1a"),
        *beats("atman", "uniform", "position"),
        *beats(SINGLE, "chefer"),
        Beats("atman", SINGLE, words="correlated suppression helps on questions, as A.4 finds it on images"),
    ),
)
