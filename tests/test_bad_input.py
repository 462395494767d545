"""Bad input to the command line with real models: one line on stderr, exit code 2, stored results untouched."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models

from atman_bench.cli.app import main
from atman_bench.evaluation.config import RunConfig
from atman_bench.evaluation.runner import evaluate

ROOT = Path(__file__).parents[1]
EVAL = ["eval", "--methods", "uniform", "--limit", "2", "--quiet"]


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path) -> Callable[..., str]:
    """Run a command in an empty folder that must refuse its input; return what it says."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert ended.value.code == 2
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert not out
        return err

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """Name of a model that works."""
    folder = tmp_path_factory.mktemp("llama")
    tiny_models.save("llama", folder)
    tiny_models.save_tokenizer(folder)
    return f"hf:{folder}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "squad.json"),
        ('{"version": "1.1"}', "squad.json"),
        ('{"data": [{"title": "t", "paragraphs": 3}]}', "squad.json"),
        ("\x00\x01", "squad.json"),
        (json.dumps({"version": "1.1", "data": []}), "squad.json holds no question"),
    ],
    ids=["cut off", "no data", "wrong type", "binary", "empty"],
)
def test_malformed_data(refused, tmp_path, content, said):
    (tmp_path / "squad.json").write_text(content)
    assert said in refused(*EVAL, "--dataset", "squad", "--data", "squad.json")


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ["eval", flag, ""]
            for flag in ("-d", "--data", "-m", "--methods", "--metrics", "--sign", "-c", "-r", "--set")
        ),
        ["eval", "--limit="],
        ["sweep", "--grid", ""],
        ["scale", "--tokens", ""],
        ["reproduce", "--text-model="],
        ["docqa", "--template", ""],
        ["models", "pull", ""],
    ],
    ids=" ".join,
)
def test_an_empty_value_is_no_way_to_ask_for_the_default(refused, arguments):
    assert "is empty: give it a value, or leave it out" in refused(*arguments)


@pytest.mark.parametrize("listed", [",,", "atman,,chefer", "atman,", " "])
@pytest.mark.parametrize("flag", ["--methods", "--metrics"])
def test_an_empty_name_in_a_list(refused, flag, listed):
    assert f"{flag} takes names by commas, received {listed!r}" in refused("eval", flag, listed)


@pytest.mark.parametrize("f", ["2", "1.01", "-0.5"])
def test_a_suppression_that_would_amplify(refused, f):
    said = refused("eval", "--methods", "atman", "--set", f"methods.atman.f={f}")
    assert f"expected 0 to 1, received {f}" in said
    assert "'atman-bench steer'" in said


def test_an_unknown_dataset(refused):
    assert "unknown dataset 'squadd': did you mean 'squad'" in refused(*EVAL, "--dataset", "squadd")


def test_an_unknown_model(refused):
    assert "unknown model 'tiny-txt': did you mean 'tiny-text'" in refused(*EVAL, "--model", "tiny-txt")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "cannot load model"),
        ({"config.json": "{"}, "cannot load model"),
        ({"config.json": '{"model_type": "unheard_of"}'}, "cannot load model"),
        ({"config.json": '{"model_type": "llama", "hidden_size": 32}'}, "cannot load model"),
    ],
    ids=["empty", "malformed", "unknown type", "no weights"],
)
def test_a_folder_that_holds_no_model(refused, tmp_path, files, said):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    assert said in refused(*EVAL, "--model", f"hf:{folder}")


def test_a_model_whose_weights_are_cut_off(refused, tmp_path):
    tiny_models.save("llama", tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cannot load model" in refused(*EVAL, "--model", f"hf:{tmp_path / 'model'}")


def test_a_model_that_lacks_weights(refused, tmp_path):
    tiny_models.save("llama", tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    assert "lack 9 tensors (model.layers.2." in refused(*EVAL, "--model", f"hf:{tmp_path / 'model'}")


def test_a_model_without_a_tokenizer(refused, tmp_path):
    tiny_models.save("llama", tmp_path / "model")
    assert "has no tokenizer in its folder" in refused(*EVAL, "--model", f"hf:{tmp_path / 'model'}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prompt", "Ada lives in Bern . " * 60], "300 tokens exceed the model's context window of 256"),
        (["--prompt", ""], "--prompt is empty"),
        (["--prompt", "Ada", "--target", ""], "--target is empty"),
        (["--prompt", "Ada", "--method", "gradcam"], "gradcam needs an image"),
        (["--prompt", "Ada", "--set", "layers=[7]"], "layer 7 does not exist"),
        (["--prompt", "Ada", "--device", "quantum"], "quantum"),
        (["--prompt", "Ada", "--device", "cuda:9"], "cuda:9"),
    ],
    ids=lambda value: " ".join(value)[-30:] if isinstance(value, list) else "",
)
def test_requests_that_the_model_cannot_answer(refused, model, arguments, said):
    assert said in refused("explain", "--model", model, "--target", " Bern", *arguments)


def test_in_a_process_of_its_own_there_is_no_traceback_either_and_what_is_stored_stays(tmp_path, model):
    tiny_models.save("mamba", tmp_path / "mamba")
    tiny_models.save_tokenizer(tmp_path / "mamba")
    run = RunConfig(model=model, methods=(("uniform", {}),), limit=2, results=tmp_path / "results")
    evaluate(run, lambda done, total, doing: None)
    stored = {path: path.read_bytes() for path in run.results.rglob("*") if path.is_file()}
    ended = subprocess.run(
        [sys.executable, "-m", "atman_bench.cli.app", *EVAL, "--model", f"hf:{tmp_path / 'mamba'}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: MambaForCausalLM made no attention call that AtMan can edit")
    assert ended.stderr.count("\n") == 1
    assert stored
    assert {path: path.read_bytes() for path in run.results.rglob("*") if path.is_file()} == stored


def test_debug_prints_the_traceback_before_the_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["atman-bench", "explain", "--debug", "-m", f"hf:{tmp_path}"])
    log = logging.getLogger("atman_bench")
    monkeypatch.setattr(log, "level", log.level)
    with pytest.raises(SystemExit):
        main()
    *traceback, last = capsys.readouterr().err.splitlines()
    assert traceback[0] == "Traceback (most recent call last):"
    assert last.startswith("error: cannot load model")
    log.setLevel(logging.NOTSET)
