"""What a folder holds, not where it lies, decides whether stored maps count."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from atman_bench.attention.similarity import Similarity
from atman_bench.core.errors import ModelError
from atman_bench.core.options import identity_options
from atman_bench.methods.atman import AtManConfig
from atman_bench.models._loading import content_hash

HUB_MODEL = SimpleNamespace(config=SimpleNamespace(_commit_hash="0123"))
LOCAL_MODEL = SimpleNamespace(config=SimpleNamespace(_commit_hash=None))


def folder_of(path: Path, **files: str) -> Path:
    path.mkdir(exist_ok=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def embedder_in_identity(embedder: str | None) -> object:
    similarity = {} if embedder is None else {"similarity": Similarity.EXTERNAL, "kappa": 0.7}
    return identity_options(AtManConfig(embedder=embedder, **similarity))["embedder"]


def test_an_embedders_folder_counts_by_its_content(tmp_path):
    folder = folder_of(tmp_path / "a", model__safetensors="weights", vocab__txt="words", README__md="text")
    first = embedder_in_identity(str(folder))
    moved = shutil.copytree(folder, tmp_path / "b")
    assert embedder_in_identity(str(moved)) == first
    (folder / "README.md").write_text("other text")
    assert embedder_in_identity(str(folder)) == first
    (folder / "model.safetensors").write_text("other weights")
    (moved / "vocab.txt").write_text("other words")
    assert len({first, embedder_in_identity(str(folder)), embedder_in_identity(str(moved))}) == 3


def test_an_embedder_that_is_no_folder_counts_by_its_name():
    assert embedder_in_identity(None) is None
    assert embedder_in_identity("sentence-transformers/all-MiniLM-L6-v2") == "sentence-transformers/all-MiniLM-L6-v2"


def adapter_of(base: str, path: Path) -> Path:
    return folder_of(
        path, adapter_model__safetensors="lora", adapter_config__json=json.dumps({"base_model_name_or_path": base})
    )


def test_a_lora_folder_counts_with_the_folder_of_its_base_model(tmp_path):
    base = folder_of(tmp_path / "base", model__safetensors="weights")
    adapter = adapter_of(str(base), tmp_path / "adapter")
    first = content_hash(adapter, LOCAL_MODEL, None)
    assert content_hash(adapter, LOCAL_MODEL, None) == first
    (base / "model.safetensors").write_text("other weights")
    second = content_hash(adapter, LOCAL_MODEL, None)
    (adapter / "adapter_model.safetensors").write_text("other lora")
    assert len({first, second, content_hash(adapter, LOCAL_MODEL, None)}) == 3


def test_a_lora_folder_counts_with_the_commit_of_a_base_model_from_the_hub(tmp_path):
    adapter = adapter_of("nobody/base", tmp_path / "adapter")
    assert content_hash(adapter, HUB_MODEL, None) != content_hash(adapter, LOCAL_MODEL, None)


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_a_lora_folder_that_does_not_say_its_base_model_is_refused(tmp_path, text):
    folder = folder_of(tmp_path / "adapter", adapter_config__json=text)
    with pytest.raises(ModelError, match="does not say which model the adapter is made for"):
        content_hash(folder, LOCAL_MODEL, None)


def test_a_folder_without_adapter_keeps_its_hash(tmp_path):
    folder = folder_of(tmp_path / "model", config__json="{}", model__safetensors="weights", notes__txt="text")
    # sha256 over name and digest of each file, as stored results have it.
    assert content_hash(folder, LOCAL_MODEL, None) == "a15eecc12dba289ba3ca14aad2412f7397763fbd58ba64064c1b1c4c673adf1f"
