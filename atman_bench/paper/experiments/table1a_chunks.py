"""Table 1a with chunks of text as units: token maps and labels pooled by their maximum."""

from dataclasses import replace

from atman_bench.paper.experiments import table1a
from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.experiments._runs import TEXT, UNKNOWN_OF_QUESTIONS
from atman_bench.paper.kinds.chunks import Chunks

SPEC = Experiment(
    title="Explaining answers to questions, scored chunk by chunk",
    paper="Table 1a: SQuAD, a 6B model; chunks of A.8",
    unknown=UNKNOWN_OF_QUESTIONS,
    runs={preset: Chunks(run) for preset, run in TEXT.items()},
    figures=("methods_bar",),
    readings=(
        "The paper's interquartile mAR of 100 would need most labels, of several tokens, to be tied at the maximum of "
        "their map: the scored unit was probably coarser than a token. Here text is cut after full stops, commas, line "
        "breaks and “and” (A.8), and a chunk has the largest score and label of its tokens.",
    ),
    # The paper's claims are those of table1a; a second test of them is no second claim.
    claims=tuple(replace(claim, source="") for claim in table1a.SPEC.claims),
)
