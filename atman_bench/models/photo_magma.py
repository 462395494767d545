"""``photo-magma``: a pretrained vision transformer (pulled) and a small decoder of ours that names photographs.

``scripts/train_photo_magma.py`` trains projection and decoder; the encoder comes from ``atman-bench models pull``.
"""

from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor
from transformers import Dinov2Model

from atman_bench.core.errors import ModelError, first_line_of
from atman_bench.models._base import LoadOptions, ModelAdapter, ModelSpec
from atman_bench.models._magma_checkpoint import load_picture_lm
from atman_bench.models._pull import PulledKind, pulled_folder
from atman_bench.models._silence import silent_transformers

WEIGHTS = Path(__file__).parent / "weights" / "photo_magma"
ENCODER = "vit-s14-saliency"
RESOLUTION = 168
"""12 x 12 patches of 14 pixels: the paper's 144 image tokens."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def encoder_tensors(folder: Path) -> dict[str, Tensor]:
    """The pulled weights, named as in ``ImagePrefix.enc``.

    Raises:
        ModelError: They cannot be read.
    """
    try:
        with silent_transformers():
            model = Dinov2Model.from_pretrained(folder)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"cannot load the image encoder from {folder}: {first_line_of(error)}") from error
    return {f"model.{name}": tensor for name, tensor in model.state_dict().items()}


def load(argument: str, options: LoadOptions) -> ModelAdapter:
    """Load the packaged decoder and the pulled encoder; an argument names another folder of the training script.

    Raises:
        ModelError: The encoder was not pulled, or a folder cannot be read.
    """
    folder = Path(argument).expanduser() if argument else WEIGHTS
    encoder = pulled_folder(ENCODER, PulledKind.VISION_ENCODER)
    return load_picture_lm(folder, "photo-magma", options, encoder_tensors(encoder))


SPEC = ModelSpec(
    summary="a pretrained vision transformer (models pull vit-s14-saliency) with a small decoder; names photographs",
    argument="",
    load=load,
)
