"""The GQA numbers of A.12: words of questions, explained by the boxes of the objects that they name."""

from atman_bench.paper.experiments._base import RECALL, Experiment, Preset, beats
from atman_bench.paper.experiments._runs import ATMAN, MAGMA_PARAMETERS, RELEASED, TINY_PICTURES
from atman_bench.paper.kinds.evaluation import Evaluation
from atman_bench.report._paper_scores import REPORTED

_METHODS = [ATMAN, "chefer", "integrated_gradients", "random", "uniform", "centre"]

WORDS = Evaluation(
    {
        "model": "magma:mp_rank_00_model_states.pt,noln",
        "trust_checkpoint": True,
        "dtype": "float16",
        "dataset": "gqa",
        # The official balanced validation questions: scene graphs exist of no test split.
        "datasets": {"gqa": {"questions": "questions/val_balanced_questions.json"}},
        "limit": 10_000,
        "methods": [RELEASED, *_METHODS[1:]],
    },
    parameters=MAGMA_PARAMETERS,
)
"""Annotated words, each explained by its own loss."""

SPEC = Experiment(
    title="Compositional questions: each annotated word against its own boxes",
    paper="A.12: GQA, 10,000 random questions, MAGMA",
    unknown=(
        "split: the balanced validation questions, of which 10,000 are drawn",
        "prompt: the dataset's template",
        "position: a word's own loss, which the row before it has; gqa_own_rows has the other reading",
        "label: the share of each patch that the box covers; images are not cropped to objects",
    ),
    runs={
        Preset.TINY: Evaluation(
            {
                "model": TINY_PICTURES,
                "dataset": "scenes",
                "datasets": {"scenes": {"task": "questions"}},
                "limit": 30,
                "methods": _METHODS,
            }
        ),
        Preset.PAPER: WORDS,
    },
    left_out={Preset.SMALL: "The small image model names objects; it answers no questions."},
    figures=("methods_bar",),
    reported=REPORTED["gqa"],
    claims=(
        *beats("atman", "integrated_gradients", source="A.12"),
        *beats("integrated_gradients", "atman", metric=RECALL, source="A.12"),
        *beats("atman", "uniform"),
    ),
)
