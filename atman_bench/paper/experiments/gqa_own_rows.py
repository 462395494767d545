"""The other reading of A.12: an annotated word is explained by its own row, which predicts what follows it."""

from dataclasses import replace

from atman_bench.paper.experiments import gqa
from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.kinds.evaluation import Evaluation

_ELSEWHERE = "gqa has annotated words at this preset, by their own losses."


def _at_own_rows(words: Evaluation) -> Evaluation:
    of_gqa = {**words.options["datasets"]["gqa"], "explain_at": "own_rows"}
    return replace(words, options={**words.options, "datasets": {"gqa": of_gqa}})


SPEC = Experiment(
    title="Compositional questions: annotated words of the question, explained at their own rows",
    paper="A.12: GQA, 10,000 random questions, MAGMA; an explanation “is found at the token position” of a word",
    unknown=("position: the row of the word itself; gqa has a word's own loss",),
    runs={Preset.PAPER: _at_own_rows(gqa.WORDS)},
    left_out={Preset.TINY: _ELSEWHERE, Preset.SMALL: gqa.SPEC.left_out[Preset.SMALL]},
    figures=("methods_bar",),
    reported=gqa.SPEC.reported,
)
