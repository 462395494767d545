"""Table 4: how many questions the models answer."""

from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.experiments._runs import (
    MAGMA_PARAMETERS,
    SMALL_PICTURES,
    SQUAD_SMALL,
    TINY_PICTURES,
    TINY_TEXT,
)
from atman_bench.paper.kinds.accuracy import Accuracy

_MAGMA = {"model": "magma:mp_rank_00_model_states.pt,noln", "trust_checkpoint": True, "dtype": "float16"}
_VAL = {"questions": "*val2014_questions.json", "annotations": "*val2014_annotations.json"}
_TESTDEV = {"questions": "questions/testdev_balanced_questions.json", "explain_at": "nothing"}
_SPLITS = {"vqav2": _VAL, "okvqa": _VAL, "gqa": _TESTDEV}

SPEC = Experiment(
    title="Model quality: questions that are answered",
    paper="Table 4: VQA, OKVQA and GQA, MAGMA 6B, 13B and 30B; split, examples and scorer are not stated",
    unknown=(
        "splits: VQAv2 and OK-VQA validation, GQA testdev, balanced",
        "solved examples: none and four",
        "prompt: the dataset's template, greedy answers",
        "scorer: soft accuracy of VQA, exact match of GQA",
    ),
    runs={
        Preset.TINY: Accuracy(
            (
                {"model": TINY_TEXT, "dataset": "facts", "limit": 40},
                {"model": TINY_PICTURES, "dataset": "scenes", "limit": 40},
            )
        ),
        Preset.SMALL: Accuracy(
            (
                {**SQUAD_SMALL, "limit": 40},
                {"model": SMALL_PICTURES, "dataset": "caltech101", "limit": 40},
            )
        ),
        Preset.PAPER: Accuracy(
            tuple({**_MAGMA, "dataset": name, "datasets": {name: files}} for name, files in _SPLITS.items()),
            shots=(0, 4),
            parameters=MAGMA_PARAMETERS,
            samples={"vqav2": 214_354, "okvqa": 5_046, "gqa": 12_578},
        ),
    },
    readings=(
        "Both embedded models answer without solved examples (0-shot): they were trained so, and four images with "
        "their questions are longer than tiny-magma's context window of 256 tokens.",
    ),
)
