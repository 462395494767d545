"""Datasets of texts with evidence: lambada, hotpotqa and minimal_pairs."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from atman_bench.core.errors import ConfigError, DataError, UnknownNameError
from atman_bench.datasets import hotpotqa, lambada, minimal_pairs
from atman_bench.datasets.hotpotqa import HotpotQaConfig
from atman_bench.datasets.lambada import LambadaConfig
from atman_bench.datasets.minimal_pairs import MinimalPairsConfig
from atman_bench.evaluation import runner
from atman_bench.evaluation.config import RunConfig

DATA = Path(__file__).parents[2] / "shared" / "data"
PASSAGE = "Ada lit the lamp. Later she put out the lamp"
HOTPOT = {
    "_id": "h1",
    "question": "Where was the founder of Acme born?",
    "answer": "Bern",
    "supporting_facts": [["Acme", 0], ["Ada", 1], ["Bo", 0], ["Ada", 7]],
    "context": [["Acme", ["Acme was founded by Ada."]], ["Ada", ["Ada is a smith.", " She was born in Bern."]]],
    "type": "bridge",
    "level": "hard",
}
PAIR = {
    "one_prefix_prefix": "Many women were listening to",
    "one_prefix_word_good": "themselves",
    "one_prefix_word_bad": "herself",
    "target": "women",
}


def marked(sample) -> list[str]:
    return [sample.prompt[start:end] for start, end in sample.label.spans]


def reasons(dataset) -> list[str]:
    return [skipped.reason for skipped in dataset.skipped]


@pytest.fixture
def written(tmp_path):
    def written(name: str, content: object) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(path)

    return written


def read_lambada(written, *records: object):
    return lambada.load(LambadaConfig(written("lambada.json", list(records))))


def test_last_word_of_a_passage_is_the_target_and_the_rationale_the_evidence(written):
    (sample,) = read_lambada(written, {"lambadaIndex": 7, "text": PASSAGE, "rationale": [[12, 16], [4, 7]]}).samples
    assert (sample.prompt, sample.target) == (PASSAGE[:-5], " lamp")
    assert marked(sample) == ["lit", "lamp"]
    assert (sample.uid, sample.explain) == ("lambada-7", (0, len(sample.prompt)))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": PASSAGE, "rationale": []}, "empty rationale"),
        ({"text": PASSAGE, "rationale": [[40, 44]]}, "empty rationale"),
        ({"text": PASSAGE, "rationale": [[4, 400]]}, "the rationale does not lie in the passage"),
        ({"text": PASSAGE, "rationale": [[7, 4]]}, "the rationale does not lie in the passage"),
        ({"text": "lamp", "rationale": [[0, 4]]}, "the passage has no word before its last"),
        ({"text": "", "rationale": [[0, 4]]}, "the passage has no word before its last"),
    ],
)
def test_passage_without_a_reason_is_counted(written, record, reason):
    dataset = read_lambada(written, record, {"text": PASSAGE, "rationale": [[4, 7]]})
    assert reasons(dataset) == [reason]
    assert len(dataset.samples) == 1


def test_lines_of_json_give_the_same_passages_as_a_list(written):
    records = [{"lambadaIndex": i, "text": PASSAGE, "rationale": [[4, 7]]} for i in range(3)]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    of_lines = lambada.load(LambadaConfig(written("l.jsonl", lines)))
    assert of_lines.samples == read_lambada(written, *records).samples
    assert of_lines.content_hash != read_lambada(written, *records).content_hash


def test_passages_of_a_dataset_folder_are_those_of_the_file(written, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    record = {"lambadaIndex": 1, "text": PASSAGE, "rationale": [[4, 7], [12, 16]]}
    folder = Path(written("hub/test.jsonl", json.dumps(record) + "\n")).parent
    assert lambada.load(LambadaConfig(str(folder))).samples == read_lambada(written, record).samples


def test_supporting_sentences_are_evidence_and_dangling_facts_are_counted(written):
    dataset = hotpotqa.load(HotpotQaConfig(written("h.json", [HOTPOT])))
    (sample,) = dataset.samples
    context = "Acme: Acme was founded by Ada.\nAda: Ada is a smith. She was born in Bern."
    assert sample.prompt == f"{context} Q: {HOTPOT['question']} A:"
    assert sample.prompt[slice(*sample.explain)] == context
    assert sample.target == " Bern"
    assert marked(sample) == ["Acme was founded by Ada.", "She was born in Bern."]
    assert sample.facts == {"type": "bridge", "level": "hard"}
    assert [skipped.uid for skipped in dataset.skipped] == ["h1/Bo/0", "h1/Ada/7"]
    assert [("title" in reason, "sentence" in reason) for reason in reasons(dataset)] == [(True, False), (False, True)]


def test_evidence_moves_with_the_template(written):
    template = "Q: {question}\n{context}\nA:"
    (sample,) = hotpotqa.load(HotpotQaConfig(written("h.json", [HOTPOT]), template)).samples
    assert marked(sample) == ["Acme was founded by Ada.", "She was born in Bern."]


def test_question_without_a_fact_that_resolves_is_no_sample(written):
    record = {**HOTPOT, "supporting_facts": [["Ada", -1]]}
    dataset = hotpotqa.load(HotpotQaConfig(written("h.json", [record, {**HOTPOT, "_id": "h2", "answer": " "}])))
    assert not dataset.samples
    assert Counter(reasons(dataset))["no supporting fact resolves"] == 1
    assert Counter(reasons(dataset))["empty answer"] == 1


def test_questions_of_the_hub_are_those_of_the_file(written, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    row = {
        **{name: HOTPOT[name] for name in ("question", "answer", "type", "level")},
        "id": "h1",
        "supporting_facts": {
            "title": [title for title, _ in HOTPOT["supporting_facts"]],
            "sent_id": [number for _, number in HOTPOT["supporting_facts"]],
        },
        "context": {
            "title": [title for title, _ in HOTPOT["context"]],
            "sentences": [sentences for _, sentences in HOTPOT["context"]],
        },
    }
    folder = Path(written("hub/validation.jsonl", json.dumps(row) + "\n")).parent
    of_file = hotpotqa.load(HotpotQaConfig(written("h.json", [HOTPOT])))
    of_hub = hotpotqa.load(HotpotQaConfig(str(folder)))
    assert (of_hub.samples, of_hub.skipped) == (of_file.samples, of_file.skipped)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"context": "x"}, "'context' should be list, found str"),
        ({"context": [["Ada"]]}, "should hold pairs of title and sentences"),
        ({"context": [["Ada", "text"]]}, "should be list, found str"),
        ({"context": [["Ada", [3]]]}, "should be str, found int"),
        ({"supporting_facts": [["Ada", "0"]]}, "should be int, found str"),
        ({"supporting_facts": {"title": ["Ada"], "sent_id": []}}, "should have one length, found 1 and 0"),
        ({"_id": 3}, "'_id' should be str, found int"),
    ],
)
def test_malformed_question_is_one_clear_line(written, change, said):
    with pytest.raises(DataError, match=said) as caught:
        hotpotqa.load(HotpotQaConfig(written("h.json", [{**HOTPOT, **change}])))
    assert "\n" not in str(caught.value)


def test_questions_beyond_the_window_are_left_out_by_count(written, tmp_path):
    long = {**HOTPOT, "_id": "h2", "context": [["Acme", ["Acme was founded by Ada. " * 500]], *HOTPOT["context"][1:]]}
    config = RunConfig(
        dataset="hotpotqa",
        data=written("h.json", [long, HOTPOT]),
        methods=(("uniform", {}),),
        results=tmp_path / "results",
    )
    summary = runner.evaluate(config, lambda done, total, doing: None)
    assert summary.uids == ("h1",)
    (reason,) = (reason for reason in summary.skipped if "dangles" not in reason)
    assert "tokens exceed the model's context window" in reason
    assert summary.skipped[reason] == 1


def table(*pairs: dict[str, str]) -> str:
    lines = [",".join(f'"{value}"' for value in pair.values()) for pair in pairs]
    return "\n".join([",".join(PAIR), *lines]) + "\n"


def test_wrong_word_is_the_foil_and_the_deciding_word_the_evidence(written):
    (sample,) = minimal_pairs.load(MinimalPairsConfig(written("anaphor.csv", table(PAIR)))).samples
    assert (sample.prompt, sample.target, sample.foil) == (PAIR["one_prefix_prefix"], " themselves", " herself")
    assert marked(sample) == ["women"]
    assert (sample.uid, sample.facts) == ("anaphor-0", {"paradigm": "anaphor"})
    plain = minimal_pairs.load(MinimalPairsConfig(written("anaphor.csv", table(PAIR)), contrastive=False))
    assert plain.samples[0].foil is None


def test_deciding_word_is_found_as_a_whole_word_and_all_its_occurrences_are_evidence(written):
    pair = {**PAIR, "one_prefix_prefix": "Even Evenlyn's even Even had", "target": "Even"}
    (sample,) = minimal_pairs.load(MinimalPairsConfig(written("npi.csv", table(pair)))).samples
    assert sample.label.spans == ((0, 4), (20, 24))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"target": "NA"}, "no deciding word is named"),
        ({"target": "men"}, "the deciding word does not stand in the prefix"),
        ({"one_prefix_word_bad": "themselves"}, "both words are the same"),
        ({"one_prefix_prefix": " "}, "the prefix or one of the words is empty"),
    ],
)
def test_pair_without_a_deciding_word_is_counted(written, change, reason):
    dataset = minimal_pairs.load(MinimalPairsConfig(written("p.csv", table({**PAIR, **change}, PAIR))))
    assert (reasons(dataset), len(dataset.samples)) == ([reason], 1)


def test_each_file_of_a_folder_is_a_paradigm(written, tmp_path):
    for name in ("b", "a"):
        written(f"pairs/{name}.csv", table(PAIR, PAIR))
    folder = str(tmp_path / "pairs")
    assert [s.uid for s in minimal_pairs.load(MinimalPairsConfig(folder)).samples] == ["a-0", "a-1", "b-0", "b-1"]
    chosen = minimal_pairs.load(MinimalPairsConfig(folder, paradigms=("b",)))
    assert [s.uid for s in chosen.samples] == ["b-0", "b-1"]
    with pytest.raises(UnknownNameError, match="unknown paradigm 'c'"):
        minimal_pairs.load(MinimalPairsConfig(folder, paradigms=("c",)))
    with pytest.raises(ConfigError, match="paradigms chooses files of a folder"):
        minimal_pairs.load(MinimalPairsConfig(f"{folder}/a.csv", paradigms=("a",)))


@pytest.mark.parametrize("dataset", [lambada, hotpotqa, minimal_pairs], ids=lambda module: module.__name__)
def test_no_data_is_a_config_error(dataset):
    with pytest.raises(ConfigError, match="needs data"):
        dataset.load(dataset.SPEC.config())


@pytest.mark.parametrize("dataset", [lambada, hotpotqa, minimal_pairs], ids=lambda module: module.__name__)
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.json", "{", "no valid JSON"),
        ("x.json", "[]", "holds no list of records"),
        ("x.json", '{"a": 1}\n{"a": ', "no valid JSON"),
        ("x.json", "[3]", "should be dict, found int"),
        ("x.json", '[{"a": 1}]', "lacks .*found a; expected"),
        ("x.csv", "a,b\n1,2\n", "lacks .*found a, b"),
        ("x.csv", "", "holds no list of records"),
        ("x.csv", 'a\n"1', "no valid CSV"),
        ("missing.json", None, "cannot read"),
    ],
)
def test_malformed_file_is_one_clear_line(written, tmp_path, dataset, name, content, said):
    path = str(tmp_path / name) if content is None else written(name, content)
    with pytest.raises(DataError, match=said) as caught:
        dataset.load(dataset.SPEC.config(path))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not DATA.exists(), reason="optional data folder is absent")
def test_every_passage_of_annotated_lambada_is_usable():
    path = DATA / "lambada" / "annotated_lambada.dev60.jsonl"
    dataset = lambada.load(LambadaConfig(str(path)))
    assert (len(dataset.samples), dataset.skipped) == (60, ())
    for line, sample in zip(path.read_text().splitlines(), dataset.samples, strict=True):
        record = json.loads(line)
        assert sample.prompt + sample.target == record["text"]
        assert sorted(map(tuple, record["rationale"])) == list(sample.label.spans)


@pytest.mark.skipif(not DATA.exists(), reason="optional data folder is absent")
def test_facts_of_the_sample_of_hotpotqa_resolve_or_are_counted():
    path = DATA / "hotpotqa" / "hotpotqa.sample18.json"
    records = json.loads(path.read_text())
    dataset = hotpotqa.load(HotpotQaConfig(str(path)))
    dangling = sum("dangles" in reason for reason in reasons(dataset))
    resolved = sum(len(sample.label.spans) for sample in dataset.samples)
    assert dangling + resolved == sum(len(record["supporting_facts"]) for record in records)
    assert len(dataset.samples) + Counter(reasons(dataset))["no supporting fact resolves"] == len(records)
    sentences = {sentence.strip() for record in records for _, listed in record["context"] for sentence in listed}
    assert {text for sample in dataset.samples for text in marked(sample)} <= sentences


@pytest.mark.skipif(not DATA.exists(), reason="optional data folder is absent")
@pytest.mark.parametrize("path", sorted((DATA / "minimal_pairs").glob("*.csv")), ids=lambda path: path.stem)
def test_deciding_words_of_the_sample_of_minimal_pairs_are_found(path):
    rows = list(csv.DictReader(path.read_text().splitlines()))
    dataset = minimal_pairs.load(MinimalPairsConfig(str(path)))
    assert len(dataset.samples) == sum(row["target"] != "NA" for row in rows)
    assert set(reasons(dataset)) <= {"no deciding word is named"}
    named = [row["target"] for row in rows if row["target"] != "NA"]
    assert [marked(sample) for sample in dataset.samples] == [[word] for word in named]
