"""Fig. 8b: mAP by the number of questions about the same paragraph."""

from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.experiments._runs import TEXT, UNKNOWN_OF_QUESTIONS

SPEC = Experiment(
    title="mAP by the number of questions about a paragraph",
    paper="Fig. 8b: SQuAD, a 6B model; its numbers are not given",
    unknown=UNKNOWN_OF_QUESTIONS,
    runs=TEXT,
    figures=("map_by_questions",),
)
