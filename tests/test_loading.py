"""Folders of models that are damaged, incomplete or need a package: one line that says what and where."""

import json
import pickle
from importlib.util import find_spec
from logging import getLogger
from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from atman_bench.core.errors import ModelError
from atman_bench.methods.atman import AtManConfig, explain
from atman_bench.models._base import LoadOptions, ModelAdapter
from atman_bench.models._load import load

EMBEDDINGS = "model.embed_tokens.weight"


@pytest.fixture
def folder(tmp_path) -> Path:
    tiny_models.save("llama", tmp_path)
    tiny_models.save_tokenizer(tmp_path)
    return tmp_path


def load_folder(folder: Path, trusted: bool = False) -> ModelAdapter:
    return load(f"hf:{folder}", LoadOptions(trust_checkpoint=trusted))


def change(path: Path, **keys: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def refusal(folder: Path, trusted: bool = False) -> str:
    with pytest.raises(ModelError) as raised:
        load_folder(folder, trusted)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "x"),
        ("num_attention_heads", 3),
        ("num_attention_heads", 0),
        ("num_hidden_layers", 10**30),
        ("intermediate_size", -1),
        ("rope_parameters", [1]),
        ("dtype", "x"),
        ("model_type", ["llama"]),
    ],
)
def test_value_of_config_json_is_refused_by_its_key(folder, key, value):
    change(folder / "config.json", **{key: value})
    said = refusal(folder)
    assert "config.json" in said
    assert key in said


@pytest.mark.parametrize("key", ["eos_token_id", "bos_token_id", "pad_token_id"])
@pytest.mark.parametrize("value", ["x", {"a": 1}, 10**30, 1.5])
def test_token_that_is_no_id_in_generation_config_is_refused_by_its_key(folder, key, value):
    change(folder / "generation_config.json", **{key: value})
    assert f"generation_config.json: {key} should be a token id" in refusal(folder)


def test_other_values_of_generation_config_that_fail_name_the_file_when_the_model_writes(folder):
    change(folder / "generation_config.json", output_hidden_states="x")
    with pytest.raises(ModelError, match=r"cannot write on .*generation_config\.json.*TypeError"):
        load_folder(folder).complete("Ada was born in", 2)


@pytest.mark.parametrize("content", ["[]", "3", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}', '{"weight_map":'])
def test_index_of_a_wrong_structure_is_refused_by_its_name(tmp_path, content):
    logging.disable_progress_bar()
    tiny_models.build("llama").save_pretrained(tmp_path, max_shard_size="20KB")
    (tmp_path / "model.safetensors.index.json").write_text(content)
    assert "model.safetensors.index.json" in refusal(tmp_path)


def test_weights_of_more_layers_than_the_config_names_are_refused(folder):
    change(folder / "config.json", num_hidden_layers=1)
    assert "hold 9 tensors that have no place in the model (model.layers.1.input_layernorm.weight, ...)" in refusal(
        folder
    )


def test_weights_of_other_shapes_are_refused_by_name(folder):
    change(folder / "config.json", intermediate_size=24)
    assert "mlp.down_proj.weight: (32, 48) in the weights, (32, 24) by the sizes in config.json" in refusal(folder)


@pytest.mark.parametrize(("dtype", "name"), [(torch.int32, "I32"), (torch.float8_e4m3fn, "F8_E4M3")])
def test_weights_that_are_no_floating_point_numbers_are_refused_without_a_quantisation(folder, dtype, name):
    weights = load_file(folder / "model.safetensors")
    weights[EMBEDDINGS] = weights[EMBEDDINGS].to(dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert f"tensor {EMBEDDINGS} of {folder / 'model.safetensors'} is stored as {name}" in refusal(folder)


@pytest.mark.parametrize(
    ("config", "package"),
    [
        ({"quant_method": "compressed-tensors", "config_groups": {}}, "compressed-tensors"),
        ({"quant_method": "hqq", "quant_config": {}}, "hqq"),
        ({"quant_method": "quanto", "weights": "int8"}, "quanto"),
        ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "torchao"),
        ({"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True}, "gptqmodel"),
    ],
)
def test_quantised_weights_name_the_package_that_is_missing(folder, config, package):
    if find_spec(package.replace("-", "_")):
        pytest.skip(f"{package} is installed here")
    change(folder / "config.json", quantization_config=config)
    said = refusal(folder)
    assert "a package is missing" in said
    assert package in said


def test_adapter_without_peft_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("atman_bench.models._loading.find_spec", lambda name: None)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "base"}))
    assert "it holds a LoRA adapter, and the package peft is missing" in refusal(tmp_path)


class Harmful:
    """What a pickle of weights must not hold."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this ran",)


def test_pickle_that_torch_refuses_is_one_line_and_runs_nothing(folder, capsys):
    (folder / "model.safetensors").unlink()
    for damage in (None, pickle.dumps({"a": 1}), b"\x80\x02cut off"):
        if damage is None:
            torch.save({"a": Harmful()}, folder / "pytorch_model.bin")
        else:
            (folder / "pytorch_model.bin").write_bytes(damage)
        assert "torch refuses its pickled weights" in refusal(folder, trusted=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tokenizer.json", '{"version": "1.0", "trunc', "has a tokenizer that cannot be loaded (Unterminated string"),
        ("tokenizer.json", "[]", "has a tokenizer that cannot be loaded ("),
        ("tokenizer_config.json", "[]", "has a tokenizer that cannot be loaded ("),
    ],
)
def test_tokenizer_that_does_not_load_says_why(folder, name, content, said):
    (folder / name).write_text(content)
    model = load_folder(folder)
    assert model.tokenizer is None
    with pytest.raises(ModelError) as raised:
        model.encode_text("Ada", " Bern")
    assert said in str(raised.value)
    assert model.encode_ids([1, 2], [3]).length == 2


@pytest.mark.skipif(find_spec("sentencepiece") is not None, reason="sentencepiece is installed here")
def test_sentencepiece_model_without_its_package_is_not_said_to_be_missing(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "tokenizer.model").write_bytes(b"\x0a\x00")
    with pytest.raises(ModelError, match="has a tokenizer that cannot be loaded"):
        load_folder(folder).encode_text("Ada", " Bern")


def test_longest_text_of_a_tokenizer_is_the_models_alone(folder):
    change(folder / "tokenizer_config.json", model_max_length="x")
    assert load_folder(folder).encode_text("Ada was born in", " Bern").length == 4


@pytest.mark.parametrize("name", ["tiny-text", "tiny-magma", "photo-magma"])
def test_transformers_does_not_remark_on_long_texts_beside_our_own_messages(name, caplog):
    tokenizer = load(name, LoadOptions()).tokenizer
    logger = getLogger("transformers")
    logger.addHandler(caplog.handler)  # it does not hand its records on
    try:
        tokenizer("Ada " * 5000)
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.messages == []


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*")  # what peft calls
def test_adapter_is_explained_as_the_model_that_it_was_merged_into(tmp_path):
    peft = pytest.importorskip("peft", reason="LoRA adapters are read by peft, which is not installed")
    base, adapter, merged = (tmp_path / name for name in ("base", "adapter", "merged"))
    tiny_models.save("llama", base)
    options = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    tuned = peft.get_peft_model(tiny_models.build("llama"), options)
    tuned.peft_config["default"].base_model_name_or_path = str(base)
    logging.disable_progress_bar()
    try:
        tuned.save_pretrained(adapter)
        tuned.merge_and_unload().save_pretrained(merged)
    finally:
        logging.enable_progress_bar()
    deltas = {}
    for folder in (base, adapter, merged):
        model = load_folder(folder)
        encoded = model.encode_ids(tiny_models.PROMPT_IDS, tiny_models.TARGET_IDS)
        deltas[folder] = explain(model, encoded, AtManConfig(), 0).per_target
    torch.testing.assert_close(deltas[adapter], deltas[merged], rtol=0, atol=1e-5)
    assert (deltas[adapter] - deltas[base]).abs().max() > 1e-3
