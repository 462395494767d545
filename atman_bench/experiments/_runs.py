"""Runs that several experiments are drawn from: questions, pictures, sweeps and costs at each preset."""

from collections.abc import Mapping
from typing import Any

from atman_bench.experiments._base import Costs, Evaluation, Grid, Preset, Run

TINY_TEXT, TINY_PICTURES = "tiny-text", "tiny-magma"
SMALL_TEXT, SMALL_PICTURES = "hf:HuggingFaceTB/SmolLM2-135M-Instruct", "photo-magma"
GPT_J = "hf:EleutherAI/gpt-j-6b"
GPT_J_PARAMETERS, MAGMA_PARAMETERS = 6.05e9, 6.43e9

ATMAN, SINGLE = "atman:shifted-kappa0.7", "atman:shifted"
"""AtMan as the paper has it, and without correlated suppression."""

_QUESTIONS: Mapping[str, Any] = {"model": TINY_TEXT, "dataset": "facts"}
_SCENES: Mapping[str, Any] = {"model": TINY_PICTURES, "dataset": "scenes"}

TEXT: Mapping[Preset, Evaluation] = {
    Preset.TINY: Evaluation(
        {
            **_QUESTIONS,
            "limit": 40,
            "methods": [
                *(ATMAN, SINGLE),
                *("chefer", "input_x_gradient", "integrated_gradients", "rollout", "attention", "occlusion"),
                *("random", "uniform", "position"),
            ],
        }
    ),
    Preset.SMALL: Evaluation(
        {
            "limit": 24,
            "methods": [
                *(ATMAN, SINGLE, "chefer", "input_x_gradient", "integrated_gradients", "rollout", "attention"),
                *("random", "uniform", "position"),
            ],
        },
        config="small",
    ),
    Preset.PAPER: Evaluation(config="paper", parameters=GPT_J_PARAMETERS, samples=10_570, units=153),
}
"""Questions whose answer stands in the prompt: Table 1a, the rollout of A.9, Figs 8a and 8b."""

_PICTURE_METHODS = (
    *(ATMAN, SINGLE, "chefer", "rollout", "attention"),
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
        {"methods": ["atman:paper", *_PICTURE_METHODS[1:]]},
        config="paper-openimages",
        parameters=MAGMA_PARAMETERS,
        samples=27_871,
    ),
}
"""Pictures whose object is named: Tables 1b and 2, the rollout of A.9, Figs 4, 9, 10, 13 and 15."""

NO_GUIDED = "The vision transformer of the preset small has no ReLU, so guided GradCAM is not defined there."


def picture_sweep(config: str, tiny: Mapping[str, Any], small: Mapping[str, Any], n: int = 6) -> Mapping[Preset, Run]:
    """A sweep over pictures at each preset.

    Args:
        config: Its preset in ``configs/``, which the preset paper runs as it is.
        tiny: Axes of the preset tiny that replace those of ``config``.
        small: The same for small.
        n: Samples of the preset tiny.
    """
    return {
        Preset.TINY: Grid({**_SCENES, "limit": n}, config, tiny),
        Preset.SMALL: Grid({"model": SMALL_PICTURES, "dataset": "caltech101", "named": 1, "limit": 40}, config, small),
        Preset.PAPER: Grid(
            {
                "model": "magma:mp_rank_00_model_states.pt,noln",
                "trust_checkpoint": True,
                "dtype": "float16",
                "dataset": "openimages",
                "limit": 256,
            },
            config,
            parameters=MAGMA_PARAMETERS,
        ),
    }


FORMS = picture_sweep("sweep-forms", {}, {}, n=24)
"""Every form of the edit with and without correlated suppression: Figs 12 and 14."""

COSTS: Mapping[Preset, Costs] = {
    Preset.TINY: Costs(config="tiny"),
    Preset.SMALL: Costs(config="sizes"),
    Preset.PAPER: Costs(config="paper"),
}
"""Methods over model sizes and sequence lengths: Figs 5 and 7."""
