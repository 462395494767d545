"""Any causal language model or vision-language model of transformers: a ``save_pretrained`` folder, or a hub id."""

from contextlib import suppress
from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from atman_bench.core.errors import ModelError
from atman_bench.models._base import LoadOptions, ModelAdapter, ModelSpec
from atman_bench.models._blip2 import load_blip2
from atman_bench.models._causal_lm import load_causal_lm
from atman_bench.models._loading import check_sizes, holds_adapter, hub_options, key_at_fault, loading
from atman_bench.models._vlm import load_vision_lm


def load(argument: str, options: LoadOptions) -> ModelAdapter:
    """Load ``hf:ID_OR_FOLDER``; tables call it by its last part."""
    if not argument:
        raise ModelError("model 'hf' needs a folder or a hub id: write hf:FOLDER or hf:ORGANISATION/NAME")
    folder = Path(argument).expanduser()
    source, name = folder if folder.is_dir() else argument, Path(argument).name
    config = None if holds_adapter(source) else _config(source, options)
    if config is not None and config.model_type == "blip-2":
        return load_blip2(source, name, options)
    if config is not None and reads_pictures(config):
        return load_vision_lm(source, config.model_type, name, options)
    return load_causal_lm(source, name, options)


def _config(source: str | Path, options: LoadOptions) -> PreTrainedConfig | None:
    """The configuration, or None where there is none: loading the weights will say why.

    Raises:
        ModelError: It cannot be read.
    """
    try:
        with loading(f"model {str(source)!r}, its config.json"), suppress(OSError):
            config = AutoConfig.from_pretrained(source, **hub_options(options))
            check_sizes(config)
            return config
    except ModelError as error:
        raise ModelError(f"{error}{key_at_fault(source)}") from error
    return None


def reads_pictures(config: PreTrainedConfig) -> bool:
    """Whether it is a decoder with images in its sequence."""
    return (
        config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        and getattr(config, "image_token_id", None) is not None
        and not getattr(config, "is_encoder_decoder", False)
    )


SPEC = ModelSpec(summary="Any language or vision-language model of transformers", argument="ID_OR_FOLDER", load=load)
