"""Document question answering: how a document is cut, which tokens a chunk takes along, and what a question finds."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import atman_bench
from atman_bench.api.docqa import DocumentAnswer, DocumentOptions, ask, relative_maximum
from atman_bench.attention.edit import AttentionEdit
from atman_bench.attention.patching import Editor
from atman_bench.cli.app import main
from atman_bench.core.errors import ConfigError, DataError, UnknownNameError
from atman_bench.datasets._chunking import DELIMITERS, cut, split_document, tokens_of_chunks
from atman_bench.datasets._documents import Document, Example, example
from atman_bench.models._base import ModelAdapter
from atman_bench.report.document import document_map
from atman_bench.report.heatmap_page import to_html

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("gptj_tiny", "split.json").read_text())
FACTS = example(Example.FACTS)
CONTRACT = example(Example.CONTRACT)


def texts_of(text: str) -> list[str]:
    return [text[start:end] for start, end in split_document(text)]


@pytest.fixture(scope="module")
def model() -> ModelAdapter:
    return atman_bench.load_model("tiny-text", device="cpu")


@pytest.fixture(scope="module")
def answers(model) -> list[DocumentAnswer]:
    return [ask(model, FACTS.text, question, DocumentOptions(FACTS.template)) for question in FACTS.questions]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_a_document_is_cut_where_the_released_code_cuts_token_ids(case):
    def as_text(ids: list[int]) -> str:
        return "".join(chr(0x2200 + i) for i in ids)

    spans = cut(as_text(case["token_ids"]), [as_text(ids) for ids in case["delimiters"]])
    # The released code adds an empty chunk after a delimiter at the very end.
    assert [list(range(start, end)) for start, end in spans] == [chunk for chunk in case["chunk_indices"] if chunk]


@pytest.mark.parametrize("text", [CONTRACT.text, FACTS.text, "\n\n. A,b and c...\n", "no delimiter", " and x"])
def test_chunks_join_to_the_document_and_each_says_something(text):
    chunks = texts_of(text)
    assert "".join(chunks) == text
    assert all(any(c.isalnum() for c in chunk) for chunk in chunks)


def test_a_chunk_of_delimiters_joins_the_one_before_it_and_at_the_beginning_the_one_after_it():
    assert texts_of("\nOne. and\n\nTwo, and three...") == ["\nOne. and\n\n", "Two, and", " three..."]


def test_a_word_that_begins_like_a_delimiter_is_not_cut():
    assert texts_of("the android and the andes") == ["the android and", " the andes"]


def test_the_contract_has_the_papers_number_of_chunks_and_its_evidence_is_one_chunk_each():
    assert len(cut(CONTRACT.text)) == pytest.approx(50, abs=5)
    chunks = split_document(CONTRACT.text)
    for question in CONTRACT.questions[:3]:
        ((first, last),) = question.evidence
        assert sum(start < last and end > first for start, end in chunks) == 1
    assert CONTRACT.questions[3].evidence == ()


def test_every_chunk_of_the_contract_but_the_last_ends_after_a_delimiter_and_none_of_them_begins_with_and():
    chunks = [CONTRACT.text[start:end] for start, end in split_document(CONTRACT.text)]
    assert all(chunk.endswith(DELIMITERS) for chunk in chunks[:-1])
    assert not any(chunk.split()[0] == "and" for chunk in chunks)
    assert sum(chunk.endswith(" and") for chunk in chunks) == CONTRACT.text.count(" and ")


@pytest.mark.parametrize("text", ["", " \n", ".,\n and"])
def test_a_document_without_text_is_refused(text):
    with pytest.raises(DataError, match="no text"):
        split_document(text)


def test_tokens_go_to_the_chunk_of_their_first_visible_character():
    text = "> Ab. Cd).\nEf?"
    chunks = [(2, 5), (5, 11), (11, 13)]
    offsets = [(0, 0), (0, 1), (1, 4), (4, 6), (6, 8), (8, 11), (11, 13), (13, 14)]
    # "(4, 6)" reads ". " and begins in the first chunk; ">" and "?" lie outside of the document.
    assert tokens_of_chunks(chunks, text, offsets) == [[2, 3], [4, 5], [6]]


def test_every_chunk_of_the_contract_has_tokens_of_its_own(model):
    offsets = model.encode_text(CONTRACT.text, " x").offsets
    groups = tokens_of_chunks(split_document(CONTRACT.text), CONTRACT.text, offsets)
    assert all(groups)
    assert sorted(position for group in groups for position in group) == list(range(len(offsets)))


@pytest.mark.parametrize("method", ["atman", "adaptive"])
def test_every_method_of_the_atman_kind_suppresses_chunks_wholly_unless_told_otherwise(method):
    assert DocumentOptions(method=method).config.f == 1
    assert DocumentOptions(method=method, options={"f": 0.5}).config.f == 0.5


def test_the_embedded_model_takes_every_answer_from_the_chunk_that_holds_it(answers):
    assert [answer.rank for answer in answers[:3]] == [1, 1, 1]


def test_no_chunk_stands_out_for_a_question_that_the_document_does_not_answer(answers):
    assert answers[3].rank is None
    assert relative_maximum(answers[3], answers) < 0.2


def test_a_chunks_score_is_the_rise_of_the_loss_with_all_its_scores_set_to_zero(model, answers):
    answer = answers[0]
    prompt = FACTS.template.format(context=FACTS.text, question=answer.question)
    encoded = model.encode_text(prompt, answer.target)
    start, end = answer.chunks[answer.highest]
    inside = [start <= (a + b) / 2 < end for a, b in encoded.offsets]
    factors = torch.ones(1, encoded.length)
    factors[0, : len(inside)][torch.tensor(inside)] = 0.0

    def loss(edit: AttentionEdit | None) -> float:
        with torch.inference_mode(), model.host.applied(Editor(edit)):
            logits = model.model(input_ids=encoded.inputs["input_ids"]).logits[0, encoded.target_rows]
        return torch.nn.functional.cross_entropy(logits, encoded.target_ids).item()

    assert answer.scores[answer.highest] == pytest.approx(loss(AttentionEdit(factors)) - loss(None), abs=1e-4)


def test_without_a_target_the_models_own_answer_is_explained(model):
    asked = replace(FACTS.questions[2], target=None)
    answer = ask(model, FACTS.text, asked, DocumentOptions(FACTS.template))
    assert answer.target.strip() == FACTS.questions[2].target
    assert answer.explanation.answered


def test_chunks_of_the_same_score_count_as_before_the_expected_one(answers):
    tied = replace(answers[0], explanation=replace(answers[0].explanation, scores=torch.zeros(7)))
    assert tied.rank == 7


def test_a_relative_maximum_needs_answered_questions(answers):
    assert relative_maximum(answers[3], answers[3:]) is None


def test_bad_options_are_refused_before_a_model_is_loaded():
    with pytest.raises(ConfigError, match="question"):
        DocumentOptions(template="{context}")
    with pytest.raises(UnknownNameError, match="kappa"):
        DocumentOptions(options={"kapa": 0.5})


def test_the_page_has_a_map_of_the_document_for_each_question(answers):
    maps = document_map(
        "tiny-text",
        FACTS.text,
        answers[0].chunks,
        tuple(answer.question for answer in answers),
        tuple(answer.target for answer in answers),
        torch.stack([answer.explanation.scores for answer in answers]).numpy(),
    )
    page = to_html([("tiny-text", maps)])
    view = json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])["view"]
    assert "".join(text for text, _ in view["pieces"]).replace("↵", "") == FACTS.text
    titles = [found["title"] for found in view["methods"][0]["maps"]]
    assert len(titles) == 4
    assert titles[1] == f"{answers[1].question} → “{answers[1].target.strip()}”"


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["atman-bench", "docqa", "--device", "cpu", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


def test_the_command_says_where_the_expected_chunk_ranks_and_writes_every_format(run, tmp_path):
    paths = {kind: tmp_path / f"document.{kind}" for kind in ("json", "html", "png")}
    files = [argument for kind, path in paths.items() for argument in (f"--{kind}", str(path))]
    code, out, _ = run("--example", "facts", *files)
    assert code == 0
    assert out.count("rank 1 of 7") == 3
    data = json.loads(paths["json"].read_text())
    assert "".join(chunk["text"] for chunk in data["chunks"]) == FACTS.text
    assert [len(question["scores"]) for question in data["questions"]] == [7] * 4
    assert data["questions"][3]["relative_maximum"] < 0.2
    view = json.loads(re.search(r'id="content">(.*?)</script>', paths["html"].read_text(), re.DOTALL)[1])["view"]
    assert len(view["methods"][0]["maps"]) == 4
    assert paths["png"].read_bytes().startswith(b"\x89PNG")


def test_a_users_document_is_asked_the_users_question(run, tmp_path):
    path = tmp_path / "document.txt"
    path.write_text(FACTS.text)
    question = FACTS.questions[2]
    code, out, _ = run("--document", str(path), "--question", question.text, "--json", "-")
    (answer,) = json.loads(out)["questions"]
    assert code == 0
    assert answer["target"].strip() == question.target
    assert (answer["expected"], answer["rank"]) == (None, None)
    assert question.target in json.loads(out)["chunks"][answer["highest"]]["text"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--document", "missing.txt", "--question", "Who?"], "cannot read missing.txt"),
        (["--document", "missing.txt"], "give --question"),
        (["--target", "Bern"], "give --question"),
        (["--document", "a", "--question", "Q", "--example", "facts"], "give one of them"),
        (["--example", "contrat"], "did you mean 'contract'"),
        (["--question", "Who?", "--template", "{question}"], "{context}"),
        (["--set", "f"], "NAME=VALUE"),
        (["--example", "facts", "--png", "missing/map.png"], "cannot write missing/map.png"),
    ],
)
def test_bad_input_is_one_line(run, monkeypatch, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_examples_end_with_a_question_that_they_do_not_answer():
    for name in Example:
        document: Document = example(name)
        assert [bool(question.evidence) for question in document.questions] == [True, True, True, False]
        assert all(document.text[a:b].strip() for q in document.questions for a, b in q.evidence)


def test_the_papers_delimiters():
    assert DELIMITERS == (".", ",", "\n", " and")
