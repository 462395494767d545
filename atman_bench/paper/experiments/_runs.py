"""Runs that several experiments are drawn from: questions, images, sweeps and costs at each preset."""

from collections.abc import Mapping, Sequence
from typing import Any

from atman_bench.paper.experiments._base import Beats, Preset
from atman_bench.paper.kinds._base import Run
from atman_bench.paper.kinds.costs import Costs
from atman_bench.paper.kinds.evaluation import Evaluation
from atman_bench.paper.kinds.grid import Grid

TINY_TEXT, TINY_PICTURES = "tiny-text", "tiny-magma"
SMALL_TEXT, SMALL_PICTURES = "hf:HuggingFaceTB/SmolLM2-135M-Instruct", "photo-magma"
GPT_J = "hf:EleutherAI/gpt-j-6b"
GPT_J_LOADING: Mapping[str, Any] = {"revision": "float16", "trust_checkpoint": True, "dtype": "float16"}
GPT_J_PARAMETERS, MAGMA_PARAMETERS = 6.05e9, 6.43e9

ATMAN, SINGLE = "atman:shifted-kappa0.7", "atman:shifted"
"""AtMan with and without correlated suppression; the row minimum is that of visible columns: models stay causal."""

RELEASED, RELEASED_SINGLE = "atman:paper", "atman:paper-single"
"""The same two with the row minimum of the released code, over all columns: what the preset paper runs."""

AS_RELEASED = {ATMAN: RELEASED, SINGLE: RELEASED_SINGLE}
"""What stands for the variants that claims and figures name, in runs of the preset paper."""

# What is not said of how runs of the preset paper were made, or cannot be repeated, and what is taken instead.
_UNKNOWN_SCORES = (
    "sign rule: what supports the target, mean over its tokens; released code for decoders sums squares over tokens",
    "interquartile means: 25 to 75 per cent; the released notebooks have 25 to 72, which summaries give too",
)
UNKNOWN_OF_QUESTIONS = (
    "model: “a 6B model” is taken to be GPT-J",
    "split: the validation questions of SQuAD 1.1, each with its first answer; the paper's counts are of the whole set",
    "scored unit: a token; published interquartile recalls of 100 fit chunks better, which table1a_chunks has",
    "IG and IxG: absolute values summed over the hidden size, IG from the zero embedding",
    "similarity: of GPT-J's input embeddings; A.15 suggests those of BERT (similarity=external)",
    *_UNKNOWN_SCORES,
)
_UNKNOWN_LABELS = (
    "article: “a” or “an”; the paper prints none, and released scripts write “a” or none",
    "label: the share of a patch's area; the release takes points of a mask that is not cropped as its image is",
)
UNKNOWN_OF_OPENIMAGES = (
    "split: training, as in the released configuration; the folder that is given has to hold it",
    "number of images: 27,871 in the paper, 27,876 in its notebook for BLIP; here what filters leave",
    *_UNKNOWN_LABELS,
    *_UNKNOWN_SCORES,
)
UNKNOWN_OF_IMAGES = (
    *UNKNOWN_OF_OPENIMAGES,
    "GradCAM's layer: the projected image tokens",
    "Chefer: no normalisation before relevance is averaged over target tokens",
)
UNKNOWN_OF_SWEEPS = (
    "images: one of each of as many classes, as the released mini set has them",
    *_UNKNOWN_LABELS,
    *_UNKNOWN_SCORES,
)
UNKNOWN_OF_BLIP = (
    "similarity: the release has MAGMA's tokens, resized to BLIP's patches; here BLIP's own patches, by cosine (blip) "
    "and by the released formula (blip-ref)",
    "perturbations: one for each patch; the release has one for each of MAGMA's 12 x 12 tokens and resizes the map",
    "images: the same for all methods; the release has at most 256 for AtMan and all for Chefer",
    "Chefer: evaluation mode; the release leaves dropout and drop path on",
)

_QUESTIONS: Mapping[str, Any] = {"model": TINY_TEXT, "dataset": "facts"}
_SCENES: Mapping[str, Any] = {"model": TINY_PICTURES, "dataset": "scenes"}

TEXT: Mapping[Preset, Evaluation] = {
    Preset.TINY: Evaluation(
        {
            **_QUESTIONS,
            "limit": 40,
            "methods": [
                *(ATMAN, SINGLE),
                *("chefer", "input_x_gradient", "integrated_gradients", "rollout", "rollout:without-last-1"),
                *("attention", "occlusion"),
                *("random", "uniform", "position"),
            ],
        }
    ),
    Preset.SMALL: Evaluation(
        {
            "limit": 24,
            "methods": [
                *(ATMAN, SINGLE, "chefer", "input_x_gradient", "integrated_gradients"),
                *("rollout", "rollout:without-last-1", "attention", "random", "uniform", "position"),
            ],
        },
        config="small",
    ),
    Preset.PAPER: Evaluation(
        config="paper", parameters=GPT_J_PARAMETERS, samples=10_570, units=153, variants=AS_RELEASED
    ),
}
"""Questions whose answer stands in the prompt: Table 1a, the rollout of A.9, Figs 8a and 8b."""

_PICTURE_METHODS = (
    *(ATMAN, SINGLE, "chefer", "rollout", "rollout:without-last-1", "attention"),
    *("input_x_gradient", "integrated_gradients", "gradcam", "occlusion"),
    *("input_x_gradient:pixels", "integrated_gradients:pixels", "gradcam:guided-pixels"),
    *("random", "uniform", "centre", "local_contrast"),
)

PICTURES: Mapping[Preset, Evaluation] = {
    Preset.TINY: Evaluation({**_SCENES, "limit": 40, "methods": list(_PICTURE_METHODS)}),
    Preset.SMALL: Evaluation(
        {"limit": 40, "methods": [name for name in _PICTURE_METHODS if name != "gradcam:guided-pixels"]},
        config="photos",
    ),
    Preset.PAPER: Evaluation(
        {"methods": [AS_RELEASED.get(name, name) for name in _PICTURE_METHODS]},
        config="paper-openimages",
        parameters=MAGMA_PARAMETERS,
        samples=27_871,
        variants=AS_RELEASED,
    ),
}
"""Images whose object is named: Tables 1b and 2, the rollout of A.9, Figs 4, 9, 10, 13 and 15."""

BLIP = Evaluation(
    {
        "model": "blip:Salesforce/blip-vqa-capfilt-large",
        "dataset": "openimages",
        # Evidence is what more than 50 of 255 of a patch's area are of, and relevance |delta|: the released notebook.
        "datasets": {"openimages": {"threshold": 50 / 255}},
        "sign": "absolute",
        # As released: AtMan by the release's similarity, Chefer of the loss. Beside them cosines, and Chefer of logits.
        "methods": ["atman:blip-ref", "atman:blip", "chefer:blip", "chefer", "random", "uniform", "centre"],
    },
    parameters=0.385e9,
    samples=27_871,
    units=900,
)
"""Table 3, and a column of Table 1c."""

NO_GUIDED = "The vision transformer of the preset small has no ReLU, so guided GradCAM is not defined there."


RELEASED_EDIT = {"methods.atman.row_min": "all"}
"""What sweeps of the preset paper fix: the row minimum of the released code, wherever the form has one."""


def picture_sweep(
    config: str, tiny: Mapping[str, Any], small: Mapping[str, Any], n: int = 6, n_small: int = 40
) -> Mapping[Preset, Run]:
    """A sweep over images at each preset.

    Args:
        config: Its preset in ``configs/``, which the preset paper runs as it is.
        tiny: Axes of the preset tiny that replace those of ``config``.
        small: The same for small.
        n: Samples of the preset tiny.
        n_small: Samples of small.
    """
    return {
        Preset.TINY: Grid({**_SCENES, "limit": n}, config, tiny),
        Preset.SMALL: Grid(
            {"model": SMALL_PICTURES, "dataset": "caltech101", "named": 1, "limit": n_small}, config, small
        ),
        Preset.PAPER: Grid(
            {
                "model": "magma:mp_rank_00_model_states.pt,noln",
                "trust_checkpoint": True,
                "dtype": "float16",
                "dataset": "openimages",
                # The released mini set: one image each of 256 of the classes.
                "datasets": {"openimages": {"per_class": 1}},
                "limit": 256,
            },
            config,
            fixed=RELEASED_EDIT,
            parameters=MAGMA_PARAMETERS,
        ),
    }


TUNED = (
    Beats("kappa=0.7, f=0.9", "kappa=single, f=0.9", words="correlated suppression helps at f = 0.9"),
    Beats("kappa=0.7, f=0.9", "kappa=0.7, f=0.1", words="strong suppression (f = 0.9) beats weak (0.1)"),
)
"""What other grids over kappa and f than Fig. 11's are asked."""

FORMS = picture_sweep("sweep-forms", {}, {}, n=24)
"""Every form of the edit with and without correlated suppression: Figs 12 and 14."""

SQUAD_SMALL: Mapping[str, Any] = {
    "model": SMALL_TEXT,
    "dataset": "squad",
    # As configs/small.yaml has them.
    "datasets": {"squad": {"data": "rajpurkar/squad", "template": "{context}\nQ: {question}\nA:"}},
}
SQUAD_PAPER: Mapping[str, Any] = {
    "model": GPT_J,
    **GPT_J_LOADING,
    "dataset": "squad",
    "datasets": {"squad": {"data": "rajpurkar/squad"}},
}
"""Questions of SQuAD for runs that have another preset of ``configs/``, or none."""


def text_sweep(
    tiny: Mapping[str, Any],
    small: Mapping[str, Any],
    paper: Mapping[str, Any],
    n: tuple[int, int, int],
    config: str | None = None,
    max_tokens: int = 112,
) -> Mapping[Preset, Run]:
    """A sweep over questions at each preset.

    Args:
        tiny: Axes of the preset tiny, which add to those of ``config`` or replace them.
        small: The same for small.
        paper: The same for paper.
        n: Samples of each.
        config: A preset in ``configs/`` that has a grid.
        max_tokens: Length of the preset small's samples, so that a question takes seconds at each point of a grid.
    """
    return {
        Preset.TINY: Grid({**_QUESTIONS, "limit": n[0]}, config, tiny),
        Preset.SMALL: Grid({**SQUAD_SMALL, "limit": n[1], "max_tokens": max_tokens}, config, small),
        Preset.PAPER: Grid(
            {**SQUAD_PAPER, "limit": n[2]},
            config,
            paper,
            fixed=RELEASED_EDIT,
            parameters=GPT_J_PARAMETERS,
            units=153,
        ),
    }


PLAIN_PASSES = "plain:default", "plain:lean"
"""What costs are compared with: a forward pass with transformers' defaults, and one of the target's logits alone."""


def costs(methods: Sequence[str], paper_models: Sequence[str]) -> Mapping[Preset, Costs]:
    """Methods over model sizes and sequence lengths; cells that several experiments have are measured once.

    Args:
        methods: Names as ``atman-bench scale`` takes them.
        paper_models: Sizes of the preset paper.
    """
    options = {"methods": [*methods]}
    return {
        Preset.TINY: Costs({**options, "models": ["random:10M", "random:30M"]}, "tiny"),
        # All steps of integrated gradients at once would fill the memory of the machine.
        Preset.SMALL: Costs({**options, "memory_limit": 16}, "sizes"),
        Preset.PAPER: Costs({**options, "models": [*paper_models]}, "paper"),
    }


FIG5_MODELS = "random:6.0B", "random:8.9B", "random:13.1B", "random:17.3B"
"""The sizes of Fig. 5."""

SIMULATED_MARKS = (
    "Of the five cells that did not fit 80 GB in Fig. 5 (17.3B from 512 tokens on, 13.1B from 768 on) none runs out of "
    "memory in our simulation of that device (results/scale-simulated, mark by mark): they take 52 to 72 GB with a "
    "full backward pass, whose activations are freed while the gradients of the weights accumulate, and 37 to 56 GB "
    "with a minimal one. So Chefer with minimal gradients fits at 17.3B and 1,024 tokens, with 56 GB."
)
"""What becomes of the lightnings of Fig. 5, with either backward pass."""
