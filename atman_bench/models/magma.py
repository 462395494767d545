"""``magma:CHECKPOINT``: MAGMA (Eichenberg et al. 2022), from its official file or a folder of ours."""

from pathlib import Path

from atman_bench.core.errors import ModelError
from atman_bench.models._base import LoadOptions, ModelSpec
from atman_bench.models._magma_checkpoint import OFFICIAL_FILE, is_picture_lm, load_official, load_picture_lm
from atman_bench.models._picture_lm import PictureLM

WITHOUT_LAYER_NORM = ",noln"


def load(argument: str, options: LoadOptions) -> PictureLM:
    """Load ``magma:PATH`` or ``magma:PATH,noln``.

    The path is the official ``mp_rank_00_model_states.pt``, a folder that holds it, or a folder of our own format.
    ``noln`` leaves out the LayerNorm after the image projection, as the released AtMan code does: MAGMA was trained
    with it, but that code's configuration switches it off and drops its weights silently.

    Raises:
        ModelError: There is no such checkpoint, it is a pickle and not trusted, or it is not MAGMA v1.
        ConfigError: No such type or device.
    """
    path = Path(argument.removesuffix(WITHOUT_LAYER_NORM)).expanduser()
    layer_norm = not argument.endswith(WITHOUT_LAYER_NORM)
    if path.is_dir() and is_picture_lm(path):
        if not layer_norm:
            raise ModelError(f"{path} says itself whether it has a LayerNorm: leave {WITHOUT_LAYER_NORM!r} out")
        return load_picture_lm(path, path.resolve().name, options)
    file = path / OFFICIAL_FILE if path.is_dir() else path
    if not argument or not file.is_file():
        raise ModelError(
            f"no checkpoint at {argument!r}: write magma:PATH, the path of {OFFICIAL_FILE} or of a folder that holds it"
        )
    return load_official(file, options, layer_norm)


SPEC = ModelSpec(
    summary="MAGMA: GPT-J with adapters that reads pictures; ',noln' drops the prefix LayerNorm, as AtMan's code did",
    argument="PATH[,noln]",
    load=load,
)
