"""``explain``, ``doctor`` and ``models`` on the command line, with a stand-in for the model."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import atman_bench
from atman_bench import pull
from atman_bench.cli.app import main
from atman_bench.errors import ModelError
from atman_bench.records import Cost, TextUnits
from atman_bench.tensors import Explanation

PROMPT = "Ada lives in Bern. Q: Where? A:"
Run = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Report:
    path: str = "routed"
    layers: int = 2
    details: tuple[str, ...] = ("factors of 1 change nothing",)


class StandIn:
    """A model that completes every prompt with " Bern"."""

    name = "stand-in"

    def complete(self, prompt: str, max_new_tokens: int) -> str:
        return " Bern"

    def probe(self) -> Report:
        return Report()


def explain_by_length(model: StandIn, *, prompt: str, target: str, method: str, **options: object) -> Explanation:
    """Score each word of the prompt by its length; the options travel as the variant."""
    words = prompt.split(" ")
    starts = [sum(len(w) + 1 for w in words[:i]) for i in range(len(words))]
    spans = tuple((start, start + len(word)) for start, word in zip(starts, words, strict=True))
    scores = torch.tensor([float(len(word)) for word in words])
    return Explanation(
        uid="prompt",
        method=method,
        variant=str(options),
        scores=scores,
        per_target=scores[None],
        units=TextUnits(tuple(words), spans),
        target_texts=(target,),
        target_logprobs=(-1.0,),
        answered=True,
        cost=Cost(0.1, 10),
    )


@pytest.fixture
def run(monkeypatch, capsys) -> Run:
    """Run the command line; gives exit code, stdout and stderr."""
    monkeypatch.setattr(atman_bench, "load_model", lambda name, **_: StandIn(), raising=False)
    monkeypatch.setattr(atman_bench, "explain", explain_by_length, raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return call


def test_explain_shows_the_prompt_and_the_models_own_completion(run):
    code, out, _ = run("explain", "--prompt", PROMPT)
    assert code == 0
    assert PROMPT in out
    assert "target “Bern”" in out


def test_explain_takes_a_built_in_question_when_no_prompt_is_given(run):
    code, out, _ = run("explain", "--json", "-")
    assert code == 0
    assert " Q: " in json.loads(out)["prompt"]


def test_json_on_stdout_is_nothing_but_json(run):
    _, out, _ = run("explain", "--prompt", PROMPT, "--target", " Rome", "--json", "-")
    data = json.loads(out)
    assert data["target_texts"] == [" Rome"]
    assert [PROMPT[slice(*unit["span"])] for unit in data["units"]] == PROMPT.split(" ")
    assert [unit["score"] for unit in data["units"]] == [len(word) for word in PROMPT.split(" ")]


def test_options_of_the_method_are_read_as_yaml(run, monkeypatch):
    received: dict[str, object] = {}

    def explain(model: StandIn, **arguments: object) -> Explanation:
        received.update(arguments)
        return explain_by_length(model, prompt=PROMPT, target=" Bern", method="atman", form="literal")

    monkeypatch.setattr(atman_bench, "explain", explain, raising=False)
    options = ("--set", "f=0.5", "--set", "form=literal", "--set", "kappa=null", "--set", "layers=[0, 1]")
    _, out, _ = run("explain", "--prompt", PROMPT, "--method", "atman", "--seed", "3", *options)
    assert received == {
        "prompt": PROMPT,
        "target": " Bern",
        "method": "atman",
        "seed": 3,
        "f": 0.5,
        "form": "literal",
        "kappa": None,
        "layers": [0, 1],
    }
    assert "stand-in · atman {'form': 'literal'}" in out


def test_explain_writes_every_format(run, tmp_path):
    paths = {kind: tmp_path / f"map.{kind}" for kind in ("json", "html", "png")}
    files = [argument for kind, path in paths.items() for argument in (f"--{kind}", str(path))]
    code, _, _ = run("explain", "--prompt", PROMPT, *files)
    assert code == 0
    assert json.loads(paths["json"].read_text())["prompt"] == PROMPT
    assert "Bern." in paths["html"].read_text()
    assert paths["png"].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["json", "html", "png"])
def test_a_file_that_cannot_be_written_is_one_line_after_the_map(run, tmp_path, kind):
    code, out, err = run("explain", "--prompt", PROMPT, f"--{kind}", str(tmp_path / "missing" / "map"))
    assert code == 2
    assert PROMPT in out
    assert err.startswith(f"error: cannot write {tmp_path}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("setting", ["f", "=1", "f={"])
def test_a_malformed_setting_is_one_line(run, setting):
    code, _, err = run("explain", "--prompt", PROMPT, "--set", setting)
    assert code == 2
    assert err.startswith("error: --set")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--method", "atmann"), "unknown method 'atmann': did you mean 'atman'"),
        (("--set", "kapa=0.7"), "did you mean 'kappa'"),
        (("--set", "target=Rome"), "atman has no option 'target'"),
        (("--target", ""), "the target is empty"),
    ],
)
def test_real_model_refuses_bad_input_in_one_line(monkeypatch, capsys, arguments, expected):
    monkeypatch.setattr(sys, "argv", ["atman-bench", "explain", "--prompt", PROMPT, *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    err = capsys.readouterr().err
    assert exit_.value.code == 2
    assert expected in err
    assert err.count("\n") == 1


def test_explain_of_the_embedded_model_points_at_the_answer(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["atman-bench", "explain", "--json", "-"])
    with pytest.raises(SystemExit):
        main()
    data = json.loads(capsys.readouterr().out)
    best = max(data["units"], key=lambda unit: unit["score"])
    assert best["text"].strip() in "".join(data["target_texts"])


def test_doctor_names_versions_and_devices(run):
    code, out, _ = run("doctor")
    assert code == 0
    for word in (torch.__version__, "transformers", "threads", "cuda", "nvml"):
        assert word in out


def test_doctor_says_which_attention_path_a_model_takes(run):
    code, out, _ = run("doctor", "--model", "tiny-text")
    assert code == 0
    assert "routed, 2 layers" in out
    assert "factors of 1 change nothing" in out


def test_doctor_refuses_a_model_whose_probe_fails(run, monkeypatch):
    def refuse(self: StandIn) -> Report:
        raise ModelError("stand-in: the edit was not called")

    monkeypatch.setattr(StandIn, "probe", refuse)
    code, _, err = run("doctor", "--model", "tiny-text")
    assert code == 2
    assert err == "error: stand-in: the edit was not called\n"


def test_models_pull_says_how_to_use_what_it_fetched(run, monkeypatch, tmp_path):
    monkeypatch.setattr(pull, "pull", lambda model: tmp_path / model.name)
    code, out, _ = run("models", "pull", "smollm2-135m")
    assert code == 0
    assert "use it with: --model pulled:smollm2-135m" in out


def test_models_pull_lists_what_there_is_and_what_is_here(run, monkeypatch, tmp_path):
    monkeypatch.setenv("ATMAN_BENCH_CACHE", str(tmp_path))
    Path(tmp_path, "models", "minilm-l6").mkdir(parents=True)
    _, out, _ = run("models", "pull", "--list")
    assert [line.split()[0] for line in out.splitlines()] == [model.name for model in pull.PULLABLE]
    assert [line.endswith("(pulled)") for line in out.splitlines()] == [False, False, True, False]


def test_models_pull_of_an_unknown_name_is_one_line_with_near_misses(run):
    code, _, err = run("models", "pull", "smollm")
    assert code == 2
    assert "did you mean 'smollm2-135m'" in err
    assert err.count("\n") == 1
