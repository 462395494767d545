"""The rollout numbers of A.9, on questions; ``rollout_pictures`` has those on images."""

from atman_bench.paper.experiments._base import RECALL, Experiment, beats
from atman_bench.paper.experiments._runs import TEXT, UNKNOWN_OF_QUESTIONS
from atman_bench.report._paper_scores import REPORTED

SPEC = Experiment(
    title="Attention rollout on questions",
    paper="A.9: SQuAD, a 6B model: mAP 23.1 and mAR 53.4, against 73.7 and 93.4 of AtMan",
    unknown=(
        *UNKNOWN_OF_QUESTIONS,
        "rows: mean over those that predict the target; heads are averaged",
    ),
    runs=TEXT,
    figures=("methods_bar",),
    reported=REPORTED["squad"],
    readings=(
        "Rollout is in the table as it is, and with 0 at the last token of the context (without-last-1), as A.9 has it "
        "for the last patch of images. The paper: mAP 23.1, mAR 53.4.",
    ),
    claims=(
        *beats("atman", "rollout", source="A.9"),
        *beats("atman", "rollout", metric=RECALL, source="A.9"),
    ),
)
