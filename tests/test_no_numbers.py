"""A model that computes NaN: a row with its reason, or one line, never an answer or a map."""

import json
import sys

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from atman_bench.cli.app import main
from atman_bench.core.records import Status
from atman_bench.evaluation.accuracy import ask_all, load_accuracy_config


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A model whose embedding of "Ada" is no number."""
    folder = tmp_path_factory.mktemp("nan")
    tiny_models.save("llama", folder)
    tiny_models.save_tokenizer(folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][1 + tiny_models.WORDS.index("Ada")] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return f"hf:{folder}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "-p", "Ada was born in"],
        ["explain", "-p", "Ada was born in", "-t", " Bern", "--json", "-"],
        ["docqa", "--document", "document.txt", "--question", "Where does Ada live ?", "-t", " Bern", "--json", "-"],
        ["docqa", "--document", "document.txt", "--question", "Where does Ada live ?"],
        ["steer", "-p", "Ada was born in", "--amplify", "born=2", "--json", "-"],
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[-2:]),
)
def test_single_explanation_ends_in_one_line(model, monkeypatch, capsys, tmp_path, arguments):
    (tmp_path / "document.txt").write_text("Ada was born in Bern. and Rome .")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments, "-m", model])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "no numbers" in err


def test_question_is_an_error_and_the_others_are_answered(model, tmp_path):
    def article(name: str, context: str, answer: str) -> dict[str, object]:
        found = {"text": answer, "answer_start": context.index(answer)}
        asked = {"id": name, "question": "Where ?", "answers": [found]}
        return {"title": "t", "paragraphs": [{"context": context, "qas": [asked]}]}

    articles = [article("0", "Ada was born in Bern .", "Bern"), article("1", "Where does Rome live ?", "Rome")]
    data = {"version": "1.1", "data": articles}
    (tmp_path / "squad.json").write_text(json.dumps(data))
    flags = {"dataset": "squad", "data": str(tmp_path / "squad.json"), "model": model, "results": tmp_path / "r"}
    summary = ask_all(load_accuracy_config(flags, [], 0, 2))
    assert {answer.uid: answer.status for answer in summary.cell.answers()} == {"0": Status.ERROR, "1": Status.OK}
    assert "no numbers" in summary.first_error
