import hashlib
import json
from pathlib import Path

import pytest

from atman_bench.core.errors import ConfigError, DataError
from atman_bench.datasets._squad_format import AnswerChoice
from atman_bench.datasets.squad import SquadConfig, load

XQUAD = Path(__file__).parents[2] / "shared" / "data" / "squad" / "xquad.en.dev-half.json"
CONTEXT = "Oslo is in Norway. Bergen {too} is in Norway."


def question(uid: str = "q1", answers: object = (("Oslo", 0),), **more: object) -> dict:
    listed = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": uid, "question": "Where?", "answers": listed, **more}


def document(*questions: dict) -> dict:
    return {
        "version": "1.1",
        "data": [{"title": "Norway", "paragraphs": [{"context": CONTEXT, "qas": list(questions)}]}],
    }


@pytest.fixture
def read(tmp_path):
    def read(content: object, **options):
        path = tmp_path / "squad.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return load(SquadConfig(str(path), **options))

    return read


def test_v1_question_becomes_a_sample_of_the_papers_prompt(read):
    (sample,) = read(document(question(answers=[("Norway", 11)]))).samples
    assert sample.prompt == CONTEXT + " Q: Where? A:"
    assert sample.target == " Norway"
    assert sample.explain == (0, len(CONTEXT))
    assert sample.label.spans == ((11, 17),)
    assert sample.facts == {"article": "Norway", "n_questions": 1}


def test_spans_move_with_the_template(read):
    (sample,) = read(document(question(answers=[("Bergen", 19)])), template="Q: {question}\n{context}\nA:").samples
    (start, end), (first, last) = sample.label.spans[0], sample.explain
    assert sample.prompt[start:end] == "Bergen"
    assert sample.prompt[first:last] == CONTEXT


def test_questions_of_one_paragraph_share_their_group_and_others_do_not(read):
    two = document(question("a"), question("b"))
    two["data"][0]["paragraphs"].append({"context": "Oslo.", "qas": [question("c")]})
    a, b, c = read(two).samples
    assert a.group == b.group != c.group
    assert a.facts["n_questions"] == 2


def test_group_does_not_depend_on_the_rest_of_the_file(read):
    alone = read(document(question())).samples[0].group
    more = document(question())
    more["data"][0]["paragraphs"].insert(0, {"context": "Oslo.", "qas": [question("c")]})
    assert read(more).samples[1].group == alone


@pytest.mark.parametrize(("choice", "expected"), [(AnswerChoice.FIRST, " Oslo"), (AnswerChoice.MAJORITY, " Norway")])
def test_one_of_several_answers_is_chosen(read, choice, expected):
    several = document(question(answers=[("Oslo", 0), ("Norway", 11), ("Norway", 11)]))
    assert read(several, answer=choice).samples[0].target == expected


@pytest.mark.parametrize(
    ("unusable", "reason"),
    [
        (question(answers=[]), "unanswerable"),
        (question(answers=[], is_impossible=True, plausible_answers=[]), "unanswerable"),
        (question(answers=[("Oslo", 1)]), "answer_start does not point at the answer"),
        (question(answers=[("Oslo", -1)]), "answer_start does not point at the answer"),
        (question(answers=[("Oslo", 900)]), "answer_start does not point at the answer"),
        (question(answers=[(" ", 4)]), "empty answer"),
    ],
)
def test_unusable_questions_are_counted_with_a_reason(read, unusable, reason):
    dataset = read(document(unusable, question("good")))
    assert [sample.uid for sample in dataset.samples] == ["good"]
    assert [(skipped.uid, skipped.reason) for skipped in dataset.skipped] == [("q1", reason)]


def test_second_question_of_an_id_is_skipped(read):
    dataset = read(document(question("a"), question("a", answers=[("Norway", 11)])))
    assert [sample.target for sample in dataset.samples] == [" Oslo"]
    assert [skipped.reason for skipped in dataset.skipped] == ["duplicate question id"]


def test_blanks_around_an_answer_are_no_evidence(read):
    (sample,) = read(document(question(answers=[(" Norway. ", 10)]))).samples
    assert sample.target == " Norway."
    assert sample.label.spans == ((11, 18),)


def test_content_hash_is_of_the_files_bytes(read):
    text = json.dumps(document(question()))
    assert read(text).content_hash == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no valid JSON"),
        ("[" * 100_000, "no valid JSON"),
        ([], "should be dict, found"),
        ({"version": "1.1"}, "lacks 'data'"),
        ({"data": {}}, "'data' should be list, found dict"),
        ({"data": []}, "holds no question"),
        ({"data": [{"title": "x"}]}, r"data\[0\] lacks 'paragraphs'"),
        ({"data": [{"title": "x", "paragraphs": [{"qas": []}]}]}, r"paragraphs\[0\] lacks 'context'"),
        (document({"id": "q", "question": "?"}), r"qas\[0\] lacks 'answers'"),
        (document({"id": "q", "question": "?", "answers": ["Oslo"]}), r"answers\[0\] should be dict, found"),
        (document(question(uid=3)), "'id' should be str, found int"),
    ],
)
def test_wrong_content_is_one_clear_line(read, content, said):
    with pytest.raises(DataError, match=said) as caught:
        read(content)
    assert "\n" not in str(caught.value)


def test_undecodable_file_is_a_data_error(tmp_path):
    path = tmp_path / "squad.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="no valid JSON"):
        load(SquadConfig(str(path)))


@pytest.mark.parametrize("name", ["missing.json", "missing_folder"])
def test_missing_source_is_a_data_error(tmp_path, monkeypatch, name):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=name) as caught:
        load(SquadConfig(str(tmp_path / name)))
    assert "\n" not in str(caught.value)


def test_no_data_and_a_template_without_its_fields_are_config_errors(read):
    with pytest.raises(ConfigError, match="needs data"):
        load(SquadConfig())
    with pytest.raises(ConfigError, match=r"{question} exactly once, found 0"):
        read(document(question()), template="{context}")


@pytest.fixture
def hub_folder(tmp_path, monkeypatch):
    """A dataset in the hub's schema, as a folder of one JSON-lines file."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def write(rows: list[dict]) -> str:
        folder = tmp_path / "hub"
        folder.mkdir()
        (folder / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(folder)

    return write


def hub_row(uid: str, texts: list[str], starts: list[int]) -> dict:
    answers = {"text": texts, "answer_start": starts}
    return {"id": uid, "title": "Norway", "context": CONTEXT, "question": "Where?", "answers": answers}


def test_hub_rows_give_the_samples_of_the_file(read, hub_folder):
    folder = hub_folder([hub_row("a", ["Oslo"], [0]), hub_row("b", ["Norway"], [11]), hub_row("c", [], [])])
    from_hub = load(SquadConfig(folder))
    from_file = read(document(question("a"), question("b", answers=[("Norway", 11)]), question("c", answers=[])))
    assert from_hub.samples == from_file.samples
    assert from_hub.skipped == from_file.skipped


def test_hub_dataset_of_another_schema_is_a_data_error(hub_folder):
    with pytest.raises(DataError, match="lacks the columns answers"):
        load(SquadConfig(hub_folder([{"id": "a", "title": "t", "context": "c", "question": "q"}])))


def test_unknown_split_is_a_data_error(hub_folder):
    with pytest.raises(DataError, match="split 'nope'"):
        load(SquadConfig(hub_folder([hub_row("a", ["Oslo"], [0])]), split="nope"))


@pytest.mark.skipif(not XQUAD.exists(), reason="optional data folder is absent")
def test_every_question_of_xquad_is_usable():
    dataset = load(SquadConfig(str(XQUAD)))
    assert not dataset.skipped
    for sample in dataset.samples:
        ((start, end),) = sample.label.spans
        assert " " + sample.prompt[start:end] == sample.target
