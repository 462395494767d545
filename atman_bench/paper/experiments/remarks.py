"""What the appendix says beside its tables and figures, and that no run of the suite decides."""

from atman_bench.paper.experiments._base import Experiment, Preset, Undecided

_WORDS = "These are remarks, suggestions and single examples: each verdict says what would decide it."

SPEC = Experiment(
    title="Remarks of the appendix that are not tested",
    paper="A.1, A.2, A.5, A.9 to A.12, A.14 and A.15",
    runs={},
    left_out=dict.fromkeys(Preset, _WORDS),
    claims=(
        Undecided(
            "adapters may cause the artefacts of Chefer's maps",
            "A.1",
            "The paper did not investigate it; it would take MAGMA with and without its adapters, trained alike.",
        ),
        Undecided(
            "AtMan's perturbations parallelise over workers, batches and pipeline stages",
            "A.1, Fig. 6",
            "fig6 measures batches and workers on one machine; clusters and pipeline stages are not run.",
        ),
        Undecided(
            "attention flow is computationally too intense for large language models",
            "A.9",
            "Only this suite's attention_flow was tried, which refuses more than 192 tokens; a faster maximum flow may "
            "do better. atman-bench eval --methods attention_flow --max-tokens 192 shows its seconds.",
        ),
        Undecided(
            "subtracting infinity (Eq. 7) works more naturally in principle",
            "A.5",
            "No number is given for it; what it does to metrics is tested in fig14.",
        ),
        Undecided(
            "one target of an image has another map than another (target-class awareness)",
            "A.12, Fig. 4",
            "The paper shows examples and no measure; fig4 draws maps of several targets of one image.",
        ),
        Undecided(
            "explanations of text and image together work best for targets other than yes or no",
            "A.12, Fig. 17a",
            "Judged by eye on two photographs that are not published; fig17 draws both kinds on generated scenes.",
        ),
        Undecided(
            "the explanation of a counted answer is found at the counted word",
            "A.12, Fig. 17b",
            "One photograph that is not published; nothing is counted in the generated scenes.",
        ),
        Undecided(
            "skip connections lead to a consistent flow through standard encoder-decoders such as OFA",
            "A.10",
            "A conjecture; of such models BLIP is implemented (table3).",
        ),
        Undecided(
            "similarities of a model such as BERT may help on text",
            "A.15",
            "A suggestion. atman-bench sweep -c sweep-similarity --grid 'methods.atman={external: {similarity: "
            "external, embedder: FOLDER, kappa: 0.7}}' runs it.",
        ),
        Undecided(
            "tokens may be aggregated, and detail added where needed, to save time",
            "A.15",
            "A suggestion. The method adaptive does it; results/adaptive shows what a share of the passes buys.",
        ),
        Undecided(
            "what is explained is what the model depends on, even where that is not what people expect",
            "A.15",
            "No test of faithfulness is in the paper; metrics/faithfulness has deletion, insertion and others.",
        ),
    ),
)
