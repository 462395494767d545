"""Model quality: scores by definition, and answers that are stored, resumed and given after solved examples."""

import json
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import tiny_pictures

from atman_bench.cli.app import main
from atman_bench.core.errors import ConfigError, DataError, SampleError
from atman_bench.core.images import open_picture
from atman_bench.core.records import Boxes, Picture, Sample, Status
from atman_bench.datasets.gqa import ExplainAt, GqaConfig, load
from atman_bench.evaluation import accuracy
from atman_bench.evaluation.accuracy import ask_all, load_accuracy_config
from atman_bench.evaluation.answer_store import Answer, AnswerCell, Quiz, answer_cells
from atman_bench.evaluation.asking import complete_after, short_answer
from atman_bench.metrics._answer_scores import Accuracy, exact_match, f1, vqa_accuracy
from atman_bench.models._parts import EmptyCompletionError
from atman_bench.report.accuracy import accuracy_table, summarise

QUIZ = Quiz("facts", {}, "data", "stand-in", "weights", "float32", 0, None, 16, 1)


@pytest.mark.parametrize(
    ("given", "right", "match", "overlap"),
    [
        ("The Beatles!", ["beatles"], 1, 1),
        ("in Bern", ["Geneva", "Bern"], 0, 2 / 3),  # precision 1/2, recall 1
        ("a red red car", ["red car"], 0, 4 / 5),  # precision 2/3, recall 1
        ("", ["Bern"], 0, 0),
        ("another", ["other"], 0, 0),
    ],
)
def test_exact_match_and_f1_are_squads(given, right, match, overlap):
    assert exact_match(given, right) == match
    assert f1(given, right) == pytest.approx(overlap)


@pytest.mark.parametrize("votes", range(11))
def test_vqa_accuracy_is_the_mean_over_all_nine_of_ten_people(votes):
    answers = ["yes"] * votes + [f"other {i}" for i in range(10 - votes)]
    by_definition = [min(nine.count("yes") / 3, 1) for nine in combinations(answers, 9)]
    assert vqa_accuracy("Yes.", answers) == pytest.approx(sum(by_definition) / 10)


@pytest.mark.parametrize(
    ("given", "published"),
    [
        ("Two dogs", "2 dogs"),
        ("a t-shirt", "t shirt"),
        ("The end.", "end"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("dont know", "don't know"),
        ("None", "0"),
        ("left, right", "left right"),
    ],
)
def test_vqa_accuracy_normalises_as_the_official_script_does(given, published):
    assert vqa_accuracy(given, [published] * 9 + ["something else"]) == 1


def test_an_answer_ends_where_the_model_makes_up_a_question():
    assert short_answer(" Bern Q: Who? A: Ada") == "Bern"


class StandIn:
    """Answers every question with " Bern", and remembers what it read."""

    name = "stand-in"
    content_hash = "weights"
    dtype_name = "float32"
    device = "cpu"

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def complete(self, prompt: str, max_new_tokens: int, picture: Picture | None = None) -> str:
        self.prompts.append(prompt)
        return " Bern"


@pytest.fixture
def model(monkeypatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setattr(accuracy, "load_configured", lambda run: stand_in)
    return stand_in


def config_of(tmp_path: Path, shots: int = 0, **flags: object) -> accuracy.AccuracyConfig:
    return load_accuracy_config({"results": tmp_path / "r", **flags}, (), shots, 16)


def write_squad(folder: Path, paragraphs: int = 3) -> str:
    """Two questions for each paragraph: one that everyone answers with Bern or Berne, one with Rome."""
    context = "Ada lives in Berne , once Bern , and not in Rome ."
    answers = [["Berne", "Bern"], ["Rome"]]
    made = [
        {
            "context": f"{number} {context}",
            "qas": [
                {
                    "id": f"{number}-{i}",
                    "question": "Where ?",
                    "answers": [{"text": t, "answer_start": f"{number} {context}".index(t)} for t in texts],
                }
                for i, texts in enumerate(answers)
            ],
        }
        for number in range(paragraphs)
    ]
    path = folder / "squad.json"
    path.write_text(json.dumps({"version": "1.1", "data": [{"title": "Ada", "paragraphs": made}]}))
    return str(path)


def test_all_right_answers_of_a_question_count(model, tmp_path):
    summary = ask_all(config_of(tmp_path, dataset="squad", data=write_squad(tmp_path)))
    found = summarise(summary.cell)
    assert (found.n, found.scores[Accuracy.EXACT_MATCH].mean) == (6, 0.5)
    assert found.scores[Accuracy.EXACT_MATCH].interval is None  # too few paragraphs


def test_a_resumed_run_asks_only_what_is_missing(model, tmp_path):
    data = write_squad(tmp_path)
    first = ask_all(config_of(tmp_path, dataset="squad", data=data, limit=2))
    second = ask_all(config_of(tmp_path, dataset="squad", data=data))
    assert (first.computed[Status.OK], second.reused, second.computed[Status.OK]) == (2, 2, 4)
    assert len(model.prompts) == len(set(model.prompts)) + 3  # both questions of a paragraph read the same


def test_answers_are_kept_when_a_run_is_interrupted(model, tmp_path, monkeypatch):
    calls = iter([" Bern", KeyboardInterrupt()])

    def complete(prompt: str, max_new_tokens: int, picture: Picture | None = None) -> str:
        if isinstance(outcome := next(calls), BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(model, "complete", complete, raising=False)
    summary = ask_all(config_of(tmp_path, dataset="squad", data=write_squad(tmp_path)))
    assert (summary.interrupted, summary.remaining) == (True, 5)
    assert [answer.given for answer in summary.cell.answers()] == ["Bern"]


@pytest.mark.parametrize(
    ("error", "status", "given"),
    [
        (EmptyCompletionError("nothing"), Status.OK, ""),
        (SampleError("too long"), Status.SKIPPED, None),
        (RuntimeError("broken"), Status.ERROR, None),
        (MemoryError("full"), Status.OOM, None),
    ],
)
def test_silence_is_a_wrong_answer_and_a_failure_is_none(model, tmp_path, monkeypatch, error, status, given):
    def complete(prompt: str, max_new_tokens: int, picture: Picture | None = None) -> str:
        raise error

    monkeypatch.setattr(model, "complete", complete, raising=False)
    summary = ask_all(config_of(tmp_path, dataset="squad", data=write_squad(tmp_path), limit=1))
    (answer,) = summary.cell.answers()
    assert (answer.status, answer.given) == (status, given)
    found = summarise(summary.cell)
    assert (found.n, dict(found.missing)) == ((1, {}) if status is Status.OK else (0, {status: 1}))


def test_examples_stand_before_every_question_and_come_from_other_groups(model, tmp_path):
    ask_all(config_of(tmp_path, 2, dataset="squad", data=write_squad(tmp_path)))
    asked = [prompt.split("\n") for prompt in model.prompts]
    assert [len(lines) for lines in asked] == [3, 3]
    assert len({tuple(lines[:2]) for lines in asked}) == 1
    assert all(line.endswith((" A: Berne", " A: Rome")) for lines in asked for line in lines[:2])
    assert all(len({line[0] for line in lines}) == 3 for lines in asked)


def test_too_many_examples_are_refused(model, tmp_path):
    with pytest.raises(DataError, match="6 questions in 3 groups: too few for 3 examples"):
        ask_all(config_of(tmp_path, 3, dataset="squad", data=write_squad(tmp_path)))


def pictured(folder: Path, word: str, seed: int) -> Sample:
    picture = tiny_pictures.save_noise(folder / f"{word}.png", seed=seed)
    return Sample(word, "Q: the cat A:", f" {word}", None, Boxes(()), word, picture=picture)


def test_examples_bring_their_pictures(tmp_path):
    model = tiny_pictures.adapter()
    sample, example = pictured(tmp_path, "owl", 4), pictured(tmp_path, "hair", 5)
    prompts = [model.tokenizer(text)["input_ids"] for text in (f"{example.prompt}{example.target}\n", sample.prompt)]
    parts = [open_picture(example.picture), prompts[0], open_picture(sample.picture), prompts[1]]
    greedy: list[int] = []
    for _ in range(3):
        logits = model.run(model.encode_parts([*parts, *([greedy] if greedy else [])], [0]))
        greedy.append(int(logits[0, -1].argmax()))
    answer = complete_after(model, sample, [example], 3)
    assert answer.strip() == model.tokenizer.decode(greedy, skip_special_tokens=True).strip()
    assert answer != complete_after(model, sample, [], 3)


def test_without_examples_the_prompt_is_that_of_explanations(tmp_path):
    model, sample = tiny_pictures.adapter(), pictured(tmp_path, "owl", 0)
    assert complete_after(model, sample, [], 2) == model.complete(sample.prompt, 2, sample.picture)


def test_a_prompt_beyond_the_context_window_is_refused(tmp_path):
    samples = [pictured(tmp_path, word, seed) for seed, word in enumerate(["owl", "hair", "dress", "yes"])]
    with pytest.raises(SampleError, match="exceed the model's context window of 48"):
        complete_after(tiny_pictures.adapter(), samples[0], samples[1:], 2)


def test_examples_with_pictures_are_refused_for_a_model_that_reads_one(model, tmp_path):
    write_gqa(tmp_path)
    with pytest.raises(ConfigError, match="shots must be 0 for model 'stand-in', received 1"):
        ask_all(config_of(tmp_path, 1, dataset="gqa", data=str(tmp_path)))


def write_gqa(folder: Path) -> None:
    """Two questions about two pictures, without scene graphs or annotations, as in the official test-dev split."""
    (folder / "questions").mkdir()
    (folder / "images").mkdir()
    questions = {
        str(i): {"question": "Is it Bern ?", "answer": a, "imageId": f"p{i}", "isBalanced": True}
        for i, a in enumerate(("Bern", "no"))
    }
    (folder / "questions" / "testdev_balanced_questions.json").write_text(json.dumps(questions))
    for i in range(2):
        tiny_pictures.save_noise(folder / "images" / f"p{i}.png")


def test_gqa_is_answered_without_scene_graphs_and_stands_beside_the_paper(model, tmp_path):
    write_gqa(tmp_path)
    summary = ask_all(config_of(tmp_path, dataset="gqa", data=str(tmp_path)))
    (line,) = accuracy_table([summary.cell]).lines
    assert line[0] == "gqa · stand-in"
    assert line[3].startswith("50.0")
    assert line[-3:] == ("47.4", "43.7", "45.6")


def test_gqa_for_answers_alone_skips_what_has_none(tmp_path):
    write_gqa(tmp_path)
    (tmp_path / "images" / "p1.png").unlink()
    dataset = load(GqaConfig(str(tmp_path), explain_at=ExplainAt.NOTHING))
    assert [sample.uid for sample in dataset.samples] == ["0"]
    assert [skipped.reason for skipped in dataset.skipped] == ["picture file is missing"]


def test_an_answer_that_ended_well_replaces_a_failure_and_never_the_other_way_round(tmp_path):
    cell = AnswerCell(tmp_path, QUIZ, "facts", (Accuracy.F1,))
    cell.create({})
    failed = Answer("1", Status.ERROR, None, ("Bern",), "g", "broken")
    with cell.writer() as writer:
        for answer in (failed, replace(failed, status=Status.OK, given="Bern", error=None), failed):
            writer.append(answer)
    assert [answer.given for answer in cell.answers()] == ["Bern"]
    assert answer_cells(tmp_path) == [cell]


def test_what_changes_answers_changes_their_folder(tmp_path):
    other = replace(QUIZ, shots=4, seed=0)
    folders = {AnswerCell(tmp_path, quiz, "facts", (Accuracy.F1,)).folder for quiz in (QUIZ, other)}
    assert len(folders) == 2


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


def test_the_command_prints_the_scores_and_writes_a_table_of_all_runs(model, monkeypatch, capsys, tmp_path):
    options = ("accuracy", "-d", "squad", "--data", write_squad(tmp_path), "--results", str(tmp_path / "r"))
    run(monkeypatch, capsys, *options, "--shots", "1")
    code, out, _ = run(monkeypatch, capsys, *options)
    assert code == 0
    assert "50.0" in out
    table = (tmp_path / "r" / "accuracy.md").read_text()
    assert [line.split(" | ")[1] for line in table.splitlines() if "stand-in" in line] == ["0", "1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--shots", "-1"), "shots must be at least 0"),
        (("--max-new-tokens", "0"), "max_new_tokens must be at least 1"),
        (("--dataset", "vqa"), "unknown dataset 'vqa'"),
        (("--set", "datasets.gqa.templat=x"), "did you mean 'template'"),
    ],
)
def test_bad_input_is_one_line(model, monkeypatch, capsys, tmp_path, arguments, said):
    code, _, err = run(monkeypatch, capsys, "accuracy", "--results", str(tmp_path), *arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
