"""Vision-language models of every family whose patch grid is known: two layers, random weights, processors and all."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    Blip2Config,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from atman_bench.models._blip2 import Blip2, Blip2Answerer
from atman_bench.models._vlm import VisionLM, processor_class

WORDS = ["[UNK]", "<bos>", "<eos>", "<pad>", "User:", "Assistant:", "Where", "is", "the", "red", "square", "?", "left"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}User: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %} Assistant:"
)
VOCABULARY = 64
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
}
GEMMA = TEXT | {"head_dim": 8}
MROPE = TEXT | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}}
ENCODER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 4,
    "initializer_range": 0.3,
}
SIDE = 24
SQUARE = {"height": SIDE, "width": SIDE}
QWEN_ENCODER = {"depth": 2, "num_heads": 4, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}


def tokenizer(*special: str, **named: str) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words, with further special tokens, some of which have names."""
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="[UNK]",
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        extra_special_tokens=named,
    )
    made.add_tokens(list(special), special_tokens=True)
    return made


def _llava() -> tuple[ProcessorMixin, Mapping[str, Any]]:
    images = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SQUARE)
    processor = processor_class("llava")(
        images,
        tokenizer(image_token="<image>"),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>\n"),
    )
    text = {"model_type": "llama"} | TEXT
    vision = {"model_type": "clip_vision_model", "image_size": SIDE, "projection_dim": 32} | ENCODER
    return processor, {"text_config": text, "vision_config": vision, "vision_feature_layer": -1}


def _tiled(model_type: str, images: type) -> tuple[ProcessorMixin, Mapping[str, Any]]:
    tiles = [f"<row_{i}_col_{j}>" for i in (1, 2) for j in (1, 2)]
    processor = processor_class(model_type)(
        images(size={"longest_edge": 48}, max_image_size={"longest_edge": SIDE}),
        tokenizer("<fake_token_around_image>", "<global-img>", *tiles, image_token="<image>"),
        image_seq_len=9,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    text = {"model_type": "llama"} | TEXT
    return processor, {"text_config": text, "vision_config": ENCODER | {"image_size": SIDE}, "scale_factor": 2}


def _qwen(model_type: str, **vision: Any) -> tuple[ProcessorMixin, Mapping[str, Any]]:
    images = Qwen2VLImageProcessorPil(
        patch_size=4, merge_size=2, size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
    )
    processor = processor_class(model_type)(
        images,
        tokenizer("<|vision_start|>", "<|vision_end|>", image_token="<|image_pad|>", video_token="<|video_pad|>"),
        chat_template=TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return processor, {"text_config": MROPE, "vision_config": QWEN_ENCODER | vision}


def _paligemma() -> tuple[ProcessorMixin, Mapping[str, Any]]:
    words = tokenizer(image_token="<image>")
    images = SiglipImageProcessorPil(size=SQUARE)
    images.image_seq_length = 36
    text = {"model_type": "gemma"} | GEMMA
    vision = {"model_type": "siglip_vision_model", "image_size": SIDE} | ENCODER
    # Its processor adds 1152 tokens for places and shapes.
    text["vocab_size"] = 1300
    return processor_class("paligemma")(images, words), {
        "text_config": text,
        "vision_config": vision | {"projection_dim": 32},
        "projection_dim": 32,
    }


def _gemma3() -> tuple[ProcessorMixin, Mapping[str, Any]]:
    processor = processor_class("gemma3")(
        Gemma3ImageProcessorPil(size=SQUARE),
        tokenizer(image_token="<image>", boi_token="<start_of_image>", eoi_token="<end_of_image>"),
        image_seq_length=9,
        chat_template=TEMPLATE.replace("IMAGE", "<start_of_image>"),
    )
    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8, "query_pre_attn_scalar": 8}
    vision = {"model_type": "siglip_vision_model", "image_size": SIDE} | ENCODER
    return processor, {"text_config": GEMMA | layers, "vision_config": vision, "mm_tokens_per_image": 9}


FAMILIES: Mapping[str, Callable[[], tuple[ProcessorMixin, Mapping[str, Any]]]] = {
    "llava": _llava,
    "idefics3": lambda: _tiled("idefics3", Idefics3ImageProcessorPil),
    "smolvlm": lambda: _tiled("smolvlm", SmolVLMImageProcessorPil),
    "qwen2_vl": lambda: _qwen("qwen2_vl", embed_dim=32, hidden_size=32, mlp_ratio=2),
    "qwen2_5_vl": lambda: _qwen(
        "qwen2_5_vl",
        hidden_size=32,
        out_hidden_size=32,
        intermediate_size=48,
        window_size=16,
        fullatt_block_indexes=[1],
    ),
    "qwen3_vl": lambda: _qwen(
        "qwen3_vl",
        hidden_size=32,
        out_hidden_size=32,
        intermediate_size=48,
        num_position_embeddings=64,
        deepstack_visual_indexes=[0],
    ),
    "paligemma": _paligemma,
    "gemma3": _gemma3,
}
"""``config.model_type`` -> processor and configuration."""


def _speak_words(model: PreTrainedModel) -> None:
    """Make completions words, which the tests can read: special tokens get logits of 0, and one of two words more."""
    head, first = model.get_output_embeddings().weight, WORDS.index("Where")
    head[:first] = 0
    head[len(WORDS) :] = 0
    head[first] = -head[first + 1]


def build(name: str) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Make a model with the same random weights each time, vectors included, and its processor."""
    processor, options = FAMILIES[name]()
    special = {
        f"{part}_token_id": processor.tokenizer.convert_tokens_to_ids(token)
        for part, token in {
            "image": processor.tokenizer.image_token,
            "video": "<|video_pad|>",
            "vision_start": "<|vision_start|>",
            "vision_end": "<|vision_end|>",
        }.items()
        if token in processor.tokenizer.get_vocab()
    }
    config = AutoConfig.for_model(name, **options, **special, tie_word_embeddings=False)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_config(config).eval()
        for parameter in model.parameters():
            if parameter.ndim == 1 or not parameter.any():
                parameter.add_(0.1 * torch.randn_like(parameter))
        _speak_words(model)
    return model, processor


def _blip2() -> tuple[PreTrainedTokenizerFast, Blip2Config]:
    words = tokenizer(image_token="<image>")
    text = {
        "model_type": "opt",
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "init_std": 0.3,
    }
    queries = ENCODER | {"encoder_hidden_size": 32, "vocab_size": VOCABULARY}
    return words, Blip2Config(
        vision_config=ENCODER | {"image_size": SIDE},
        qformer_config=queries,
        text_config=text,
        num_query_tokens=4,
        image_token_index=words.image_token_id,
    )


@cache
def blip2() -> Blip2:
    """A BLIP-2, whose vision encoder is hosted."""
    words, config = _blip2()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = Blip2Answerer(config).eval()
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        _speak_words(model)
    return Blip2("blip-2", model, words, "blip-2")


@cache
def adapter(name: str) -> VisionLM:
    """The hosted model, shared by all tests: they leave it as it was."""
    return VisionLM(name, *build(name), name)
