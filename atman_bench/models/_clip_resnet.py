"""CLIP's residual network without its attention pooling: the image encoder of MAGMA, under OpenAI's parameter names."""

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn

EXPANSION = 4
"""A block's output has this many times the channels of its 3x3 convolution."""
STRIDE = 32
"""Image pixels per feature, along each side."""


class Bottleneck(nn.Module):
    """Residual block; strides are average pools (anti-aliased). Every ReLU is a module of its own, for hooks.

    Args:
        inputs: Channels that come in.
        planes: Channels of the 3x3 convolution.
        stride: 1 or 2.
    """

    def __init__(self, inputs: int, planes: int, stride: int):
        super().__init__()
        outputs = planes * EXPANSION
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu2 = nn.ReLU()
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu3 = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                OrderedDict(
                    [
                        ("-1", nn.AvgPool2d(stride)),  # OpenAI's names: the convolution is number 0
                        ("0", nn.Conv2d(inputs, outputs, 1, bias=False)),
                        ("1", nn.BatchNorm2d(outputs)),
                    ]
                )
            )

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C2 h2 w2"]:
        """One block."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(self.avgpool(out)))
        return self.relu3(out + self.downsample(x))


class ClipResNet(nn.Module):
    """CLIP's ModifiedResNet up to its last feature map (Radford et al. 2021, section 2.4).

    Args:
        layers: Blocks of each of the four stages, (6, 8, 18, 8) in RN50x16.
        width: Channels of the stem, 96 in RN50x16; the features have 32 times as many.
    """

    def __init__(self, layers: tuple[int, int, int, int], width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.relu3 = nn.ReLU()
        self.avgpool = nn.AvgPool2d(2)
        self.layer1 = _stage(width, width, layers[0], stride=1)
        self.layer2 = _stage(width * 4, width * 2, layers[1], stride=2)
        self.layer3 = _stage(width * 8, width * 4, layers[2], stride=2)
        self.layer4 = _stage(width * 16, width * 8, layers[3], stride=2)

    def forward(self, pixels: Float[Tensor, "B 3 n n"]) -> Float[Tensor, "B C h w"]:
        """The last feature map, a 32nd of the image's size."""
        x = self.relu1(self.bn1(self.conv1(pixels)))
        x = self.relu2(self.bn2(self.conv2(x)))
        x = self.avgpool(self.relu3(self.bn3(self.conv3(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def _stage(inputs: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(inputs, planes, stride)
    return nn.Sequential(first, *(Bottleneck(planes * EXPANSION, planes, 1) for _ in range(1, blocks)))
