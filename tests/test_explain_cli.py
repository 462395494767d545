"""``explain``, ``doctor`` and ``models`` on the command line, with a stand-in for the model."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_pictures
import torch

import atman_bench
from atman_bench.api.explanation import Explanation
from atman_bench.cli.app import main
from atman_bench.cli.doctor import half_precision
from atman_bench.core.errors import ModelError
from atman_bench.core.records import Cost, Picture, TextUnits
from atman_bench.models import _pull

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
    dtype_name = "float32"

    def complete(self, prompt: str, max_new_tokens: int, picture: Picture | None = None) -> str:
        return " Bern"

    def probe(self) -> Report:
        return Report()


def explain_by_length(
    model: StandIn,
    *,
    prompt: str | None = None,
    messages: list[dict[str, str]] | None = None,
    target: str | None,
    method: str | None,
    **options: object,
) -> Explanation:
    """Score each word of the prompt by its length; the options travel as the variant."""
    prompt = prompt or messages[0]["content"]
    words = prompt.split(" ")
    starts = [sum(len(w) + 1 for w in words[:i]) for i in range(len(words))]
    spans = tuple((start, start + len(word)) for start, word in zip(starts, words, strict=True))
    scores = torch.tensor([float(len(word)) for word in words])
    return Explanation(
        uid="prompt",
        method=method or "atman",
        variant=str(options),
        scores=scores,
        per_target=scores[None],
        units=TextUnits(tuple(words), spans),
        target_texts=(target or " Bern",),
        target_logprobs=(-1.0,),
        answered=True,
        cost=Cost(0.1, 10),
        model=model.name,
        prompt=prompt,
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
        "target": None,
        "units": None,
        "foil": None,
        "image": None,
        "explained": "text",
        "method": "atman",
        "seed": 3,
        "max_new_tokens": 16,
        "stop": None,
        "f": 0.5,
        "form": "literal",
        "kappa": None,
        "layers": [0, 1],
    }
    assert "stand-in · atman {'form': 'literal'}" in out


def test_a_chat_and_what_ends_its_answer_travel_on(run, monkeypatch):
    received: dict[str, object] = {}

    def explain(model: StandIn, **arguments: object) -> Explanation:
        received.update(arguments)
        return explain_by_length(model, prompt=PROMPT, target=" Bern", method="atman")

    monkeypatch.setattr(atman_bench, "explain", explain, raising=False)
    options = ("--chat", "--stop", "END", "--stop", ".", "--explain", "context")
    assert run("explain", "--prompt", PROMPT, *options)[0] == 0
    assert received["messages"] == [{"role": "user", "content": PROMPT}]
    assert "prompt" not in received
    assert (received["stop"], received["explained"]) == (["END", "."], "context")


def test_several_methods_are_one_page_and_a_list(run, tmp_path):
    page = tmp_path / "map.html"
    _, out, _ = run("explain", "--prompt", PROMPT, "--method", "atman,attention", "--json", "-", "--html", str(page))
    assert len(json.loads(out)) == 2
    content = json.loads(re.search(r'id="content">(.*?)</script>', page.read_text(), re.DOTALL)[1])
    assert [method["name"].partition(":")[0] for method in content["view"]["methods"]] == ["atman", "attention"]


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
        (("--set", "target=Rome"), "unknown option of atman 'target'"),
        (("--target", ""), "--target is empty"),
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


@pytest.fixture(scope="module")
def pictured(tmp_path_factory) -> tuple[str, str]:
    """A model that reads pictures, and a picture."""
    folder = tmp_path_factory.mktemp("pictured")
    tiny_pictures.save(folder / "model")
    return f"magma:{folder / 'model'}", str(tiny_pictures.save_noise(folder / "noise.png").path)


def explain_picture(monkeypatch, capsys, pictured: tuple[str, str], *arguments: str) -> tuple[int, str, str]:
    model, image = pictured
    monkeypatch.setattr(sys, "argv", ["atman-bench", "explain", "--model", model, "--image", image, *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize(
    ("explained", "patches", "words"), [((), 16, 0), (("image",), 16, 0), (("text",), 0, 5), (("both",), 16, 5)]
)
def test_picture_text_or_both_are_explained(monkeypatch, capsys, pictured, explained, patches, words):
    options = ("--explained", *explained) if explained else ()
    code, out, _ = explain_picture(monkeypatch, capsys, pictured, "--json", "-", *options)
    data = json.loads(out)
    assert code == 0
    assert data["prompt"] == "This is a picture of"
    assert [unit["span"] is None for unit in data["units"]] == [True] * patches + [False] * words
    assert [grid["grid"] for grid in data["grids"]] == [[4, 4]] * bool(patches)


def test_the_models_own_words_about_a_picture_are_what_is_explained(monkeypatch, capsys, pictured):
    _, out, _ = explain_picture(monkeypatch, capsys, pictured, "--max-new-tokens", "2", "--json", "-")
    model = tiny_pictures.adapter()
    own = model.complete("This is a picture of", 2, Picture(Path(pictured[1])))
    said = json.loads(out)["target_texts"]
    assert said == list(model.token_texts(own.ids))
    # A special token that the model says is no part of the text, and is explained all the same.
    assert " ".join(text for text in said if text != "[UNK]") == own.strip()


def test_single_pixels_of_a_picture_are_explained(monkeypatch, capsys, pictured, tmp_path):
    options = ("--method", "input_x_gradient", "--set", "granularity=pixels", "--png", str(tmp_path / "map.png"))
    code, out, _ = explain_picture(monkeypatch, capsys, pictured, "--json", "-", *options)
    assert code == 0
    assert json.loads(out)["grids"][0]["grid"] == [16, 16]


def test_every_generated_word_and_phrase_gets_a_map_of_picture_and_text(monkeypatch, capsys, pictured, tmp_path):
    page = tmp_path / "map.html"
    options = ("--target", " a tall cat", "--phrases", "tall cat; a", "--explained", "both", "--html", str(page))
    code, out, _ = explain_picture(monkeypatch, capsys, pictured, *options, "--json", "-")
    data = json.loads(out)
    maps = torch.tensor(data["per_target"])
    assert (code, maps.shape) == (0, (3, 16 + 5))
    assert [(phrase["text"], phrase["tokens"]) for phrase in data["phrases"]] == [("tall cat", [1, 3]), ("a", [0, 1])]
    for phrase in data["phrases"]:
        torch.testing.assert_close(torch.tensor(phrase["scores"]), maps[slice(*phrase["tokens"])].mean(0))
    content = json.loads(re.search(r'id="content">(.*?)</script>', page.read_text(), re.DOTALL)[1])
    titles = [found["title"] for found in content["view"]["methods"][0]["maps"]]
    kinds = ["target", "phrase", "phrase", "target token 1", "target token 2", "target token 3"]
    assert [title.partition(" “")[0] for title in titles] == kinds


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target", " a cat", "--phrases", "dog"), "phrase 'dog' is no part of the target"),
        (("--target", " a cat", "--phrases", "a; "), "phrase '' is no part of the target"),
        (("--target", " a cat", "--phrases", "a", "--method", "uniform"), "--phrases: uniform explains the mean"),
        (("--explained", "pixels"), "unknown value of explained 'pixels'"),
        (("--image", "nowhere.png"), "--image nowhere.png: there is no such file"),
    ],
)
def test_a_picture_that_cannot_be_explained_is_one_line(monkeypatch, capsys, pictured, arguments, said):
    code, _, err = explain_picture(monkeypatch, capsys, pictured, *arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_doctor_names_versions_and_devices(run):
    code, out, _ = run("doctor")
    assert code == 0
    for word in (torch.__version__, "transformers", "threads", "cuda", "nvml"):
        assert word in out


@pytest.mark.parametrize(
    ("capabilities", "bfloat16", "float16"),
    [
        ({"amx_bf16": True, "avx512_bf16": True, "amx_fp16": False}, "multiplied by AMX", "no instructions"),
        ({"amx_bf16": False, "avx512_bf16": True, "avx512_fp16": True}, "by AVX-512", "by AVX-512"),
        ({"architecture": "x86_64", "avx2": True}, "no instructions", "no instructions"),
    ],
)
def test_doctor_says_which_half_precision_types_a_processor_multiplies(capabilities, bfloat16, float16):
    said = dict(half_precision(capabilities))
    assert bfloat16 in said["bfloat16"]
    assert float16 in said["float16"]


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
    monkeypatch.setattr(_pull, "pull", lambda model: tmp_path / model.name)
    code, out, _ = run("models", "pull", "smollm2-135m")
    assert code == 0
    assert "use it with: --model pulled:smollm2-135m" in out


def test_models_pull_lists_what_there_is_and_what_is_here(run, monkeypatch, tmp_path):
    monkeypatch.setenv("ATMAN_BENCH_CACHE", str(tmp_path))
    Path(tmp_path, "models", "minilm-l6").mkdir(parents=True)
    _, out, _ = run("models", "pull", "--list")
    assert [line.split()[0] for line in out.splitlines()] == [model.name for model in _pull.PULLABLE]
    assert [line.endswith("(pulled)") for line in out.splitlines()] == [False, False, True, False]


def test_models_pull_of_an_unknown_name_is_one_line_with_near_misses(run):
    code, _, err = run("models", "pull", "smollm")
    assert code == 2
    assert "did you mean 'smollm2-135m'" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (["--budget", "0.1"], {"budget": 0.1}),
        (["--budget", "40"], {"budget": 40.0}),
        (["--budget", "20s"], {"budget": 1.0, "seconds": 20.0}),
        (["--fidelity", "0.95"], {"budget": 1.0, "fidelity": 0.95}),
        (["--budget", "0.5", "--fidelity", "0.9"], {"budget": 0.5, "fidelity": 0.9}),
    ],
)
def test_a_budget_is_a_share_a_number_of_passes_or_a_time(run: Run, flags: list[str], options: dict[str, float]):
    code, out, _ = run("explain", "--prompt", PROMPT, *flags)
    assert code == 0
    for name, value in options.items():
        assert f"'{name}': {value}" in out.replace("\n", " ")


def test_a_budget_that_is_no_number_is_one_line(run: Run):
    code, _, err = run("explain", "--prompt", PROMPT, "--budget", "much")
    assert (code, err.count("\n")) == (2, 1)
    assert "or a time (20s), received 'much'" in err
