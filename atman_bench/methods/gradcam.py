"""GradCAM on images: channels weighted by their mean gradient (Selvaraju et al. 2017), plain and guided."""

import warnings
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import torch
from captum.attr import GuidedBackprop, GuidedGradCam
from jaxtyping import Float
from torch import Tensor, nn

from atman_bench.core.errors import ConfigError, NotApplicableError
from atman_bench.core.records import Modality
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._gradients import Logit, parameters_require_grad, target_logits
from atman_bench.methods._pictures import patch_blocks, pixel_attribution, pixel_model
from atman_bench.models._base import ModelAdapter


class Layer(StrEnum):
    """Which activations are weighted."""

    TOKENS = "tokens"
    """The projected image tokens: channels = hidden size, space = patches (our reading; the paper does not say)."""
    CONVOLUTION = "convolution"
    """The encoder's last convolution; always guided, at the pixels (Table 2)."""
    NORM = "norm"
    """The decoder's first LayerNorm through captum, which takes positions for channels: no token map, but released."""


@dataclass(frozen=True, kw_only=True)
class GradCAMConfig:
    """Options of GradCAM.

    Attributes:
        layer: tokens (projected image tokens), convolution (the encoder's last one, at pixels) or norm (as released).
        guided: Multiply by guided gradients, which pass ReLUs only where they are positive.
        pooled: Sum a map of pixels over each patch.
    """

    layer: Layer = Layer.TOKENS
    guided: bool = False
    pooled: bool = False

    def __post_init__(self) -> None:
        if self.layer is not Layer.TOKENS and not self.guided:
            raise ConfigError(f"gradcam at layer {self.layer} is guided: set guided=true")
        if self.pooled and self.layer is not Layer.CONVOLUTION:
            raise ConfigError(f"gradcam at layer {self.layer} has no pixels to pool: leave pooled out")


class _TargetLogit(nn.Module):
    """One target's logit as a module, which captum's hooks need; holds the model's modules without copying them."""

    def __init__(self, parts: list[nn.Module], function: Logit):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


def explain(model: ModelAdapter, encoded: Encoded, config: GradCAMConfig, seed: int) -> Attribution:
    """Weight activations by gradients of each target's logit.

    Raises:
        NotApplicableError: The sample has no image (paper A.1: "does not work for text only"), or the model has nothing
            that the option refers to.
    """
    patch_blocks(encoded, "gradcam")
    with parameters_require_grad(model.model, False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")  # captum says so each time
        if config.layer is Layer.CONVOLUTION:
            return _guided_pixels(model, encoded, config.pooled)
        return _tokens(model, encoded, config)


def _tokens(model: ModelAdapter, encoded: Encoded, config: GradCAMConfig) -> Attribution:
    embeddings = model.embeddings(encoded).detach()
    explained = encoded.unit_of_position >= 0
    per_position = torch.zeros(len(encoded.target_ids), encoded.length)
    for index, logit in enumerate(target_logits(model, encoded)):
        inputs = embeddings.clone().requires_grad_()
        if config.layer is Layer.NORM:
            per_position[index] = guided_norm(model, logit, inputs).abs().sum(-1)[0].cpu()
            continue
        (gradient,) = torch.autograd.grad(logit(inputs).sum(), inputs)
        cam = class_activation(embeddings[0, explained].float(), gradient[0, explained].float())
        if config.guided:
            wrapped = _with_relus(model, [model.model], logit)
            guided = GuidedBackprop(wrapped).attribute(inputs)[0, explained].detach().float()
            cam = (cam[:, None] * guided).abs().sum(-1)
        per_position[index, explained] = cam.detach().cpu()
    return Attribution.mean_of(encoded.pool(per_position))


def class_activation(activations: Float[Tensor, "N D"], gradients: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
    """Positive part of the activations, weighted by the mean gradient of their channel."""
    return (activations @ gradients.mean(0)).clamp(min=0)


def guided_norm(model: ModelAdapter, logit: Logit, inputs: Tensor) -> Float[Tensor, "1 S D"]:
    """Captum's guided GradCAM on the decoder's first LayerNorm, as released.

    Raises:
        NotApplicableError: The decoder has no LayerNorm.
    """
    norm = next((module for module in model.model.modules() if isinstance(module, nn.LayerNorm)), None)
    if norm is None:
        raise NotApplicableError(f"gradcam at layer norm needs a LayerNorm; {model.name} has none")
    wrapped = _with_relus(model, [model.model], logit)
    return GuidedGradCam(wrapped, norm).attribute(inputs).detach().float()


def _guided_pixels(model: ModelAdapter, encoded: Encoded, pooled: bool) -> Attribution:
    differentiable, pixels, units = pixel_model(model, encoded, "gradcam")
    convolutions = [module for module in differentiable.encoder.modules() if isinstance(module, nn.Conv2d)]
    # A transformer's only convolution cuts the patches: nothing precedes it, and it has no ReLUs to guide.
    if len(convolutions) < 2:
        raise NotApplicableError(
            f"gradcam at the last convolution needs a convolutional encoder; {model.name} has none"
        )
    maps = []
    for logit in target_logits(model, encoded, partial(differentiable.embeddings_from_pixels, encoded)):
        wrapped = _with_relus(model, [differentiable.encoder, model.model], logit)
        found = GuidedGradCam(wrapped, convolutions[-1]).attribute(pixels.clone().requires_grad_())
        maps.append(found[0].detach().float().mean(0).cpu())  # the signed mean over channels, as released
    return pixel_attribution(torch.stack(maps), units, pooled)


def _with_relus(model: ModelAdapter, parts: list[nn.Module], logit: Logit) -> _TargetLogit:
    """The logit as a module whose ReLUs can be guided.

    Raises:
        NotApplicableError: There are none.
    """
    wrapped = _TargetLogit(parts, logit)
    if not any(isinstance(module, nn.ReLU) for module in wrapped.modules()):
        raise NotApplicableError(f"guided gradcam needs ReLUs to guide gradients through; {model.name} has none")
    return wrapped


def label(config: GradCAMConfig) -> str:
    """Name of a variant."""
    parts = ["guided" if config.guided else "default"]
    if config.layer is Layer.CONVOLUTION:
        parts.append("pooled" if config.pooled else "pixels")
    elif config.layer is Layer.NORM:
        parts.append("as-released")
    return "-".join(parts)


SPEC = MethodSpec(
    summary="GradCAM on pictures, plain or guided, at tokens or pixels",
    version=1,
    config=GradCAMConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 3 * n_targets,
    label=label,
    variants={
        "guided": {"guided": True},
        "guided-pixels": {"guided": True, "layer": "convolution"},
        "guided-pooled": {"guided": True, "layer": "convolution", "pooled": True},
        "guided-as-released": {"guided": True, "layer": "norm"},
    },
    modalities=frozenset({Modality.IMAGE}),
    image_variants=("guided", "guided-pixels", "guided-pooled"),
    contrast=Contrast.TOKEN,
)
