"""The instruction of A.10: "Answer with respect to the given context" before a question."""

from dataclasses import replace

from atman_bench.datasets._squad_format import INSTRUCTION_TEMPLATE
from atman_bench.paper.experiments._base import Beats, Experiment, Preset, Undecided
from atman_bench.paper.experiments._runs import (
    AS_RELEASED,
    ATMAN,
    GPT_J_PARAMETERS,
    SINGLE,
    SQUAD_PAPER,
    SQUAD_SMALL,
    TINY_TEXT,
    UNKNOWN_OF_QUESTIONS,
)
from atman_bench.paper.kinds.comparison import Comparison
from atman_bench.paper.kinds.evaluation import Evaluation

_METHODS = [ATMAN, SINGLE, "chefer", "uniform"]


def _squad(plain: Evaluation) -> Comparison:
    squad = {**plain.options["datasets"]["squad"], "template": INSTRUCTION_TEMPLATE}
    asked = replace(plain, options={**plain.options, "datasets": {"squad": squad}})
    return Comparison({"plain": plain, "instruction": asked})


_FACTS = {"model": TINY_TEXT, "dataset": "facts", "limit": 24, "methods": _METHODS}

SPEC = Experiment(
    title="A prompt with the instruction to answer from the context",
    paper="A.10: such instructions “may improve the results”; neither model nor numbers are given",
    unknown=(
        *UNKNOWN_OF_QUESTIONS,
        "data: SQuAD; A.10 names neither data nor numbers",
    ),
    runs={
        Preset.TINY: Comparison(
            {
                "plain": Evaluation(_FACTS),
                "instruction": Evaluation({**_FACTS, "datasets": {"facts": {"template": INSTRUCTION_TEMPLATE}}}),
            }
        ),
        Preset.SMALL: _squad(Evaluation({**SQUAD_SMALL, "limit": 12, "max_tokens": 160, "methods": _METHODS})),
        Preset.PAPER: _squad(
            Evaluation(
                {**SQUAD_PAPER, "methods": [AS_RELEASED.get(name, name) for name in _METHODS]},
                parameters=GPT_J_PARAMETERS,
                samples=10_570,
                units=153,
                variants=AS_RELEASED,
            )
        ),
    },
    figures=("methods_bar",),
    readings=("The embedded model of the preset tiny has never seen an instruction.",),
    claims=(
        Beats("instruction/atman", "plain/atman", words="the instruction improves AtMan's maps", source="A.10"),
        Beats("instruction/chefer", "plain/chefer", words="the instruction improves Chefer's maps"),
        Undecided(
            "models tuned for chat are more applicable than their base models",
            "A.10",
            "No base model and chat-tuned model of one family can be had offline. With a hub: atman-bench eval "
            "--dataset squad --model hf:HuggingFaceTB/SmolLM2-135M, and again with SmolLM2-135M-Instruct.",
        ),
    ),
)
