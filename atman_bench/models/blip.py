"""``blip``: BLIP for visual question answering; AtMan and Chefer run on its vision encoder (paper A.10, Table 3)."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import BertTokenizerFast, BlipConfig, BlipForQuestionAnswering, PreTrainedTokenizerBase

from atman_bench.core.errors import ConfigError, ModelError, SampleError, first_line_of
from atman_bench.core.records import Picture
from atman_bench.models._base import LINE_BREAK, LoadOptions, ModelSpec
from atman_bench.models._loading import content_hash, load_tokenizer, loading, usable_device, weights_type
from atman_bench.models._parts import stopped
from atman_bench.models._vision_tower import Texts, VisionTowerAdapter
from atman_bench.models._writing import write_on

NAMING_PROMPT = "This is a picture of"
"""How the datasets ask for a name; BLIP answers questions, and is asked the authors' one instead."""

NAMING_QUESTION = "What is shown in the picture?"

MOST_TARGET_TOKENS = 3
"""Longer answers are cut, as in the released code."""

RENAMES: tuple[tuple[re.Pattern[str], str | None], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"visual_encoder\.cls_token", "vision_model.embeddings.class_embedding"),
        (r"visual_encoder\.pos_embed", "vision_model.embeddings.position_embedding"),
        (r"visual_encoder\.patch_embed\.proj\.(\w+)", r"vision_model.embeddings.patch_embedding.\1"),
        (r"visual_encoder\.blocks\.(\d+)\.attn\.qkv\.(\w+)", r"vision_model.encoder.layers.\1.self_attn.qkv.\2"),
        (
            r"visual_encoder\.blocks\.(\d+)\.attn\.proj\.(\w+)",
            r"vision_model.encoder.layers.\1.self_attn.projection.\2",
        ),
        (r"visual_encoder\.blocks\.(\d+)\.norm([12])\.(\w+)", r"vision_model.encoder.layers.\1.layer_norm\2.\3"),
        (r"visual_encoder\.blocks\.(\d+)\.mlp\.(fc[12])\.(\w+)", r"vision_model.encoder.layers.\1.mlp.\2.\3"),
        (r"visual_encoder\.norm\.(\w+)", r"vision_model.post_layernorm.\1"),
        (r"(text_encoder|text_decoder\.bert)\.embeddings\.position_ids", None),  # a buffer
        (r"text_(encoder|decoder)\..*", r"\g<0>"),
    )
)
"""Name in the official checkpoint -> name in transformers (None drops it); the first full match applies."""


class BlipAnswerer(BlipForQuestionAnswering):
    """BLIP, run from its vision encoder's embeddings on: that is where edits and replaced embeddings come in."""

    def forward(
        self,
        inputs_embeds: Float[Tensor, "B S D"],
        question_ids: Int[Tensor, "B Q"],
        answer_ids: Int[Tensor, "B T"],
    ) -> Float[Tensor, "B T V"]:
        """Logits of the answer: row i predicts what follows the first i + 1 tokens of ``answer_ids``."""
        patches = self.vision_model.encoder(inputs_embeds=inputs_embeds).last_hidden_state
        picture = self.vision_model.post_layernorm(patches)
        question = self.text_encoder(input_ids=question_ids, encoder_hidden_states=picture).last_hidden_state
        return self.text_decoder(input_ids=answer_ids, encoder_hidden_states=question, use_cache=False).logits


class BlipVQA(VisionTowerAdapter):
    """BLIP for visual question answering: the image is explained, by attention edits in the vision encoder.

    A prompt is the question, except that a naming prompt ("This is a picture of a") becomes "What is shown in the
    picture?". The question starts with [ENC] and the answer with [DEC], as in the authors' code (transformers' own
    processor leaves [CLS] at the start of the question). A target is the class name before "(", at most 3 tokens of it,
    without an end token; the answer is the whole name with [SEP], which the model would have to say, and which Chefer's
    method can be asked to explain (``objective=answer-loss``).

    Args:
        name: What tables call it.
        model: In evaluation mode, on its device.
        tokenizer: BERT's.
        content_hash: SHA-256 of local weights or a hub revision.

    Raises:
        ModelError: Attention edits cannot be installed in the vision encoder.
    """

    def __init__(self, name: str, model: BlipAnswerer, tokenizer: PreTrainedTokenizerBase, content_hash: str):
        super().__init__(name, model, model.vision_model, tokenizer, content_hash)
        self.start_id: int = model.config.text_config.bos_token_id

    def texts(self, uid: str, prompt: str, target: str) -> Texts:
        """Tokenise a question and its answer.

        Raises:
            SampleError: One of them is longer than the text models' context window.
        """
        name = self.tokenizer(target.split("(")[0], add_special_tokens=False)["input_ids"]
        answer = (*name, self.model.config.text_config.sep_token_id)
        return self.texts_of_ids(uid, self._question_ids(prompt), name[:MOST_TARGET_TOKENS], answer)

    def texts_of_ids(
        self,
        uid: str,
        question_ids: Sequence[int],
        target_ids: Sequence[int],
        answer_ids: Sequence[int] | None = None,
    ) -> Texts:
        """The same for token ids, of any number.

        Args:
            uid: Name of the sample.
            question_ids: With [ENC] at the start and [SEP] at the end.
            target_ids: Without [DEC] at the start.
            answer_ids: The whole answer, likewise; None means that the target is all of it.

        Raises:
            SampleError: As ``texts``.
        """
        most = self.model.config.text_config.max_position_embeddings
        said = target_ids if answer_ids is None else answer_ids
        if (longest := max(len(question_ids), len(said))) > most:
            raise SampleError(f"sample {uid}: {longest} tokens exceed the model's context window of {most}")
        inputs = {
            "question_ids": torch.tensor([list(question_ids)]),
            "answer_ids": torch.tensor([[self.start_id, *said[:-1]]]),
        }
        return Texts(inputs, tuple(target_ids), 0, None if answer_ids is None else tuple(answer_ids))

    @torch.inference_mode()
    def complete(
        self, prompt: str, max_new_tokens: int, picture: Picture | None = None, stop: Sequence[str] = LINE_BREAK
    ) -> str:
        """The model's greedy answer, up to its end token or a text that stops it.

        Raises:
            SampleError: It is empty, or there is no readable image.
        """
        _, pixels = self.read_picture(picture)
        inputs = {
            "input_ids": torch.tensor([self._question_ids(prompt)], device=self.device),
            "pixel_values": pixels.to(self.device, self.model.dtype),
        }
        answer = write_on(self.model, self.name, inputs, max_new_tokens)
        return stopped(self.tokenizer.decode(answer[1:], skip_special_tokens=True), stop)

    def _question_ids(self, prompt: str) -> list[int]:
        question = NAMING_QUESTION if prompt.startswith(NAMING_PROMPT) else prompt
        ids: list[int] = self.tokenizer(question)["input_ids"]
        return [self.start_id + 1, *ids[1:]]  # [ENC] follows [DEC], and stands in the place of [CLS]


def load(argument: str, options: LoadOptions) -> BlipVQA:
    """Load ``blip:ID_OR_FOLDER`` or ``blip:CHECKPOINT.pth``.

    An official checkpoint needs ``vocab.txt`` (of bert-base-uncased) and ``med_config.json`` (from ``configs`` of the
    official repository) beside it. It does not tell the number of attention heads of the vision encoder, which is one
    per 64 channels in all published ones; another number is read from the key ``encoder_heads`` of ``med_config.json``.
    Its vision encoder gets the official LayerNorm eps of 1e-6. A converted checkpoint is taken as its config says:
    where that has transformers' default of 1e-5, numbers differ slightly (the probe shows it).

    Raises:
        ModelError: It does not exist, is no BLIP for question answering, or holds pickled weights without
            ``trust_checkpoint``.
        ConfigError: No such type or device.
    """
    if not argument:
        raise ModelError("model 'blip' needs weights: write blip:FOLDER, blip:ORGANISATION/NAME or blip:FILE.pth")
    dtype = weights_type(options.dtype)
    if options.device_map is not None:
        raise ConfigError("blip runs on one device: leave device_map out")
    device, path = usable_device(options.device), Path(argument).expanduser()
    with loading(f"model {argument!r}"):
        if path.suffix == ".pth":
            return _load_official(path, dtype, device, options.trust_checkpoint)
        return _load_pretrained(path if path.is_dir() else argument, path.name, dtype, device, options)


def _load_pretrained(
    source: str | Path, name: str, dtype: torch.dtype, device: torch.device, options: LoadOptions
) -> BlipVQA:
    shared = {"revision": options.revision or "main"}
    tokenizer = load_tokenizer(source, shared)
    model = _filled(
        source,
        dtype=dtype,
        # transformers reads pickles with weights_only=True; even so they are asked for explicitly.
        use_safetensors=None if options.trust_checkpoint else True,
        **shared,
    )
    digest = content_hash(Path(source), model, options.revision)
    return BlipVQA(name, model.to(device), tokenizer, digest)


def _load_official(path: Path, dtype: torch.dtype, device: torch.device, trusted: bool) -> BlipVQA:
    if not trusted:
        raise ModelError(f"{path} is a pickle, which is read only if you trust it: set trust_checkpoint")
    files = [path, path.parent / "med_config.json", path.parent / "vocab.txt"]
    for file in files:
        if not file.is_file():
            raise ModelError(f"{file} is missing; an official checkpoint needs med_config.json and vocab.txt beside it")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler makes of bytes that are no pickle
        raise ModelError(f"{path} cannot be read: {first_line_of(error)}") from error
    state = loaded.get("model") if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping):
        raise ModelError(f"{path} is no official checkpoint of BLIP: expected its weights under 'model'")
    tokenizer = BertTokenizerFast(vocab=str(files[2]), do_lower_case=True)
    config = official_config(state, json.loads(files[1].read_text()), tokenizer)
    model = _filled(None, config=config, state_dict=renamed(state), dtype=dtype)
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return BlipVQA(path.stem, model.to(device), tokenizer, digest.hexdigest())


def _filled(source: str | Path | None, **how: Any) -> BlipAnswerer:  # transformers' own options
    """A model in evaluation mode, all of whose weights come from the checkpoint.

    Raises:
        ModelError: Some do not.
    """
    model, loaded = BlipAnswerer.from_pretrained(source, output_loading_info=True, **how)
    if missing := sorted(loaded["missing_keys"]):
        raise ModelError(
            f"the weights lack {len(missing)} tensors of BLIP for question answering ({missing[0]}, ...), which would "
            "stay random; use a checkpoint that was trained on VQA"
        )
    return model.eval()


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an official checkpoint under transformers' names.

    Raises:
        ModelError: A name has no place in BLIP for question answering.
    """
    tensors = {}
    for key, tensor in state.items():
        for pattern, name in RENAMES:
            if match := pattern.fullmatch(key):
                if name is not None:
                    tensors[match.expand(name)] = tensor
                break
        else:
            raise ModelError(f"tensor {key!r} has no place in BLIP for question answering")
    return tensors


def official_config(
    state: Mapping[str, Tensor], med: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase
) -> BlipConfig:
    """Sizes of an official checkpoint.

    Args:
        state: Under the official names: its shapes tell those of the vision encoder.
        med: The official ``med_config.json``: sizes of the text models.
        tokenizer: Its special tokens; [DEC] and [ENC] are the two that follow its vocabulary.

    Raises:
        KeyError: A tensor or a size is missing.
    """
    patch = state["visual_encoder.patch_embed.proj.weight"].shape[-1]
    _, positions, width = state["visual_encoder.pos_embed"].shape
    blocks = {key.split(".")[2] for key in state if key.startswith("visual_encoder.blocks.")}
    sizes = (
        *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"),
        *("max_position_embeddings", "hidden_act", "layer_norm_eps"),
    )
    return BlipConfig(
        vision_config={
            "hidden_size": width,
            "intermediate_size": len(state["visual_encoder.blocks.0.mlp.fc1.weight"]),
            "num_hidden_layers": len(blocks),
            "num_attention_heads": med.get("encoder_heads", width // 64),
            "image_size": isqrt(positions - 1) * patch,
            "patch_size": patch,
            "layer_norm_eps": 1e-6,
        },
        text_config={
            **{size: med[size] for size in sizes},
            "bos_token_id": med["vocab_size"] - 2,
            "eos_token_id": tokenizer.sep_token_id,
            "sep_token_id": tokenizer.sep_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
    )


SPEC = ModelSpec(
    summary="BLIP for visual question answering: attention of the vision encoder is edited",
    argument="ID_OR_FOLDER_OR_FILE.pth",
    load=load,
)
