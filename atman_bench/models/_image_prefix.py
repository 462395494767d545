"""An image as tokens of a decoder: an image encoder, and the projection into the decoder's embeddings (MAGMA)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model

from atman_bench.core.errors import ModelError
from atman_bench.models._clip_resnet import EXPANSION, STRIDE, ClipResNet

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Area = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels of an image."""


class Resize(StrEnum):
    """How an image becomes a square of n x n pixels."""

    CROP = "crop"
    """The shorter side to n, then the centre (MAGMA)."""
    SQUASH = "squash"
    """Both sides to n: nothing is lost, proportions change."""


class EncoderKind(StrEnum):
    """Image encoders."""

    CLIP_RESNET = "clip_resnet"
    CONV = "conv"
    DINOV2 = "dinov2"


@dataclass(frozen=True)
class ClipResNetConfig:
    """CLIP's residual network; MAGMA has RN50x16.

    Attributes:
        layers: Blocks of each of the four stages.
        width: Channels of the stem.
    """

    layers: tuple[int, int, int, int] = (6, 8, 18, 8)
    width: int = 96

    @property
    def stride(self) -> int:
        """Image pixels per feature, along each side."""
        return STRIDE

    @property
    def features(self) -> int:
        """Channels of a feature."""
        return self.width * 8 * EXPANSION

    def build(self, grid: int) -> nn.Module:
        """Make the network; ``grid`` features along each side."""
        return ClipResNet(self.layers, self.width)


@dataclass(frozen=True)
class ConvConfig:
    """A small convolutional encoder, trained from scratch.

    Attributes:
        channels: Channels after each convolution of stride 2, multiples of 8; three of them take 96 pixels to 12.
        blocks: Residual blocks on the final grid.
        kernel: Side of the convolutions of stride 2. One of 4 looks at the middle of its feature's own pixels; after
            three of side 3 the middle is 3.5 pixels up and left of that, of 8.
    """

    channels: tuple[int, ...] = (32, 64, 96)
    blocks: int = 3
    kernel: int = 3

    def __post_init__(self) -> None:
        if self.kernel not in (3, 4):
            raise ModelError(f"kernel {self.kernel} of a small encoder: expected 3 or 4, which halve the side")

    @property
    def stride(self) -> int:
        """Image pixels per feature, along each side."""
        return 2 ** len(self.channels)

    @property
    def features(self) -> int:
        """Channels of a feature."""
        return self.channels[-1]

    def build(self, grid: int) -> nn.Module:
        """Make the network; ``grid`` features along each side."""
        return ConvEncoder(self, grid)


@dataclass(frozen=True)
class Dinov2EncoderConfig:
    """DINOv2 of transformers.

    Attributes:
        settings: Its configuration as transformers writes it (``hidden_size``, ``patch_size`` ...).
    """

    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stride(self) -> int:
        """Image pixels per feature, along each side."""
        return int(self.settings.get("patch_size", Dinov2Config.patch_size))

    @property
    def features(self) -> int:
        """Channels of a feature."""
        return int(self.settings.get("hidden_size", Dinov2Config.hidden_size))

    def build(self, grid: int) -> nn.Module:
        """Make the network; ``grid`` features along each side (position embeddings are interpolated to them)."""
        return Dinov2Encoder(Dinov2Config.from_dict(dict(self.settings)))


EncoderConfig = ClipResNetConfig | ConvConfig | Dinov2EncoderConfig
ENCODERS: Mapping[EncoderKind, type[EncoderConfig]] = {
    EncoderKind.CLIP_RESNET: ClipResNetConfig,
    EncoderKind.CONV: ConvConfig,
    EncoderKind.DINOV2: Dinov2EncoderConfig,
}


@dataclass(frozen=True)
class PrefixConfig:
    """What an image prefix is made of.

    Attributes:
        encoder: The image encoder.
        resolution: n, the side in pixels of the square that it reads.
        resize: How images become that square.
        layer_norm: Whether a LayerNorm follows the projection.
        dropout: After the projection, in training only.
        mean: Subtracted from red, green and blue in [0, 1].
        std: Divides them then.

    Raises:
        ModelError: The resolution is no multiple of the encoder's stride.
    """

    encoder: EncoderConfig
    resolution: int
    resize: Resize = Resize.CROP
    layer_norm: bool = False
    dropout: float = 0.0
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self) -> None:
        if self.resolution < 1 or self.resolution % self.encoder.stride:
            raise ModelError(
                f"resolution {self.resolution} is no multiple of {self.encoder.stride}, the image encoder's stride"
            )

    def to_json(self) -> dict[str, Any]:
        """What ``from_json`` reads."""
        kind = next(kind for kind, cls in ENCODERS.items() if isinstance(self.encoder, cls))
        return asdict(self) | {"encoder": {"kind": kind} | asdict(self.encoder)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "PrefixConfig":
        """Read what ``to_json`` wrote.

        Raises:
            ModelError: A key is unknown or missing, or there is no such encoder or way to resize.
        """
        try:
            encoder = dict(stored["encoder"])
            chosen = ENCODERS[EncoderKind(encoder.pop("kind"))]
            rest = {key: value for key, value in stored.items() if key != "encoder"}
            if "resize" in rest:
                rest["resize"] = Resize(rest["resize"])
            return cls(encoder=_build(chosen, encoder), **_tuples(cls, rest))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the image prefix's configuration cannot be read: {error!r}") from error


def _build(cls: type[EncoderConfig], stored: Mapping[str, Any]) -> EncoderConfig:
    return cls(**_tuples(cls, stored))


def _tuples(cls: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no tuples; keys that the class lacks are refused."""
    if unknown := sorted(set(stored) - {f.name for f in fields(cls)}):
        raise ValueError(f"unknown key {unknown[0]!r}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(channels // 8, channels)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = _norm(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = _norm(channels)
        self.relu2 = nn.ReLU()

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """One block."""
        out = self.relu1(self.norm1(self.conv1(x)))
        return self.relu2(x + self.norm2(self.conv2(out)))


class ConvEncoder(nn.Module):
    """Convolutions of stride 2, residual blocks, and a learned embedding of each place of the grid.

    Group norms, unlike batch norms, make no feature depend on the other images of a batch, in training either.

    Args:
        config: Its sizes.
        grid: Features along each side.
    """

    def __init__(self, config: ConvConfig, grid: int):
        super().__init__()
        channels = config.channels
        self.stem = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(i, o, config.kernel, stride=2, padding=1, bias=False), _norm(o), nn.ReLU())
                for i, o in zip((3, *channels), channels, strict=False)
            )
        )
        self.blocks = nn.Sequential(*(ResidualBlock(channels[-1]) for _ in range(config.blocks)))
        self.positions = nn.Parameter(0.02 * torch.randn(channels[-1], grid, grid))

    def forward(self, pixels: Float[Tensor, "B 3 n n"]) -> Float[Tensor, "B C h w"]:
        """The feature map, with the embedding of each place added."""
        return self.blocks(self.stem(pixels)) + self.positions


class Dinov2Encoder(nn.Module):
    """The patch tokens of DINOv2, after its final LayerNorm."""

    def __init__(self, config: Dinov2Config):
        super().__init__()
        self.model = Dinov2Model(config)

    def forward(self, pixels: Float[Tensor, "B 3 n n"]) -> Float[Tensor, "B N C"]:
        """One token per patch, row by row; the class token is left out."""
        return self.model(pixel_values=pixels).last_hidden_state[:, 1:]


def squashed(image: Image.Image, side: int) -> Image.Image:
    """An image as an RGB square, whatever its proportions (bicubic)."""
    return image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)


def normalised(
    square: Image.Image, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Float[Tensor, "1 3 n n"]:
    """The pixels of an RGB image in [0, 1], less the mean, over the deviation."""
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255
    centre, scale = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return ((pixels - centre) / scale)[None]


class ImagePrefix(nn.Module):
    """Image encoder, projection, dropout and, in some, a LayerNorm; parameters are named as in MAGMA's checkpoint.

    Args:
        config: What it is made of.
        hidden_size: D, of the decoder's embeddings.
    """

    def __init__(self, config: PrefixConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.enc = config.encoder.build(self.grid[0])
        self.proj = nn.Linear(config.encoder.features, hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.ln: nn.Module = nn.LayerNorm(hidden_size) if config.layer_norm else nn.Identity()

    @property
    def resolution(self) -> int:
        """n, the side in pixels of the square that the encoder reads."""
        return self.config.resolution

    @property
    def resize(self) -> Resize:
        """How images become that square."""
        return self.config.resize

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the tokens."""
        side = self.config.resolution // self.config.encoder.stride
        return side, side

    def preprocess(self, image: Image.Image) -> tuple[Float[Tensor, "1 3 n n"], Area]:
        """Turn an image into what the encoder reads.

        Args:
            image: In its file's own mode.

        Returns:
            Normalised pixels (float32), and the part of the image that they cover.
        """
        n, (width, height) = self.resolution, image.size
        if self.resize is Resize.SQUASH:
            square = squashed(image, n)
            area: Area = (0, 0, width, height)
        else:
            # MAGMA resizes in the file's own mode: images with a palette by nearest neighbour, all others bicubic.
            shorter = min(width, height)
            size = int(n * width / shorter), int(n * height / shorter)
            left, top = round((size[0] - n) / 2), round((size[1] - n) / 2)
            resized = image.resize(size, Image.Resampling.BICUBIC)
            square = resized.crop((left, top, left + n, top + n)).convert("RGB")
            x, y = width / size[0], height / size[1]
            area = (left * x, top * y, (left + n) * x, (top + n) * y)
        return normalised(square, self.config.mean, self.config.std), area

    def features(self, pixels: Float[Tensor, "B 3 n n"]) -> Float[Tensor, "B N C"]:
        """The encoder's output as tokens, row by row: token = row * columns + column."""
        encoded = self.enc(pixels)
        return encoded.flatten(2).transpose(1, 2) if encoded.ndim == 4 else encoded

    def project(self, features: Float[Tensor, "B N C"]) -> Float[Tensor, "B N D"]:
        """Features as input embeddings of the decoder."""
        return self.ln(self.dropout(self.proj(features)))

    def forward(self, pixels: Float[Tensor, "B 3 n n"]) -> Float[Tensor, "B N D"]:
        """Input embeddings of the decoder, one per token."""
        return self.project(self.features(pixels))

    def encode(self, pixels: Float[Tensor, "B 3 n n"]) -> Float[Tensor, "B N D"]:
        """As a call, with pixels of any device and type; differentiable."""
        return self(pixels.to(self.proj.weight.device, self.proj.weight.dtype))
