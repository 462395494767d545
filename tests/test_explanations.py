"""Explanations in Python: of loaded models and chats, shown, saved, compared; evaluation without a results folder."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import tiny_pictures
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

import atman_bench
from atman_bench.api._prompts import context_of
from atman_bench.core.errors import ConfigError, DataError, ModelError, UnknownNameError
from atman_bench.core.records import CharSpans, ChatPrompt, Sample
from atman_bench.core.texts import words_of
from atman_bench.models._base import ModelAdapter
from atman_bench.models._parts import completion_of
from atman_bench.testing.models import word_tokenizer

PROMPT = "Ada was born in Bern . Where does Ada live ?"
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} </{{ m['role'] }}> {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def loaded():
    """A model of transformers with its tokenizer, whose template marks roles by words of the vocabulary."""
    words = ["[UNK]", *tiny_models.WORDS, "<user>", "</user>", "<system>", "</system>", "<assistant>"]
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]")
    tokenizer.chat_template = TEMPLATE
    return tiny_models.build("llama"), tokenizer


@pytest.fixture(scope="module")
def adapter(loaded) -> ModelAdapter:
    return atman_bench.load_model(loaded[0], tokenizer=loaded[1])


@pytest.fixture(scope="module")
def found() -> atman_bench.Explanation:
    prompt = "Everdeen Bridge was designed by Karin Fairbanks. Q: Who designed Everdeen Bridge? A:"
    return atman_bench.explain("tiny-text", prompt=prompt, kappa=0.9)


def test_a_loaded_model_is_explained_as_one_that_is_loaded_by_its_folder(tmp_path, loaded):
    tiny_models.save("llama", tmp_path)
    loaded[1].save_pretrained(tmp_path)
    given = {"prompt": PROMPT, "target": " Bern and"}
    by_name = atman_bench.explain(str(tmp_path), **given)  # a bare folder
    before = tiny_models.state_of(loaded[0])
    of_object = atman_bench.explain(loaded[0], tokenizer=loaded[1], **given)
    assert torch.equal(by_name.scores, of_object.scores)
    assert tiny_models.state_of(loaded[0]) == before


def test_without_a_tokenizer_ids_are_explained(loaded):
    model = atman_bench.load_model(loaded[0])
    ids = {"prompt_ids": tiny_models.PROMPT_IDS, "target_ids": tiny_models.TARGET_IDS}
    assert atman_bench.explain(model, **ids).scores.shape == (len(tiny_models.PROMPT_IDS),)
    with pytest.raises(ModelError, match="was given without a tokenizer"):
        atman_bench.explain(model, prompt=PROMPT)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda m, t: atman_bench.load_model(m, tokenizer=t, dtype="float16"), ConfigError, "keeps its device"),
        (lambda m, t: atman_bench.load_model("tiny-text", tokenizer=t), ConfigError, "belong to a loaded model"),
        (lambda m, t: atman_bench.load_model(3), ConfigError, "received int"),
        (lambda m, t: atman_bench.load_model("tiny-txt"), UnknownNameError, "did you mean 'tiny-text'"),
        (lambda m, t: atman_bench.load_model(m.train()), ModelError, "training mode"),
    ],
    ids=["options", "name", "type", "unknown", "training"],
)
def test_what_is_no_model_is_refused(loaded, call, error, said):
    try:
        with pytest.raises(error, match=said):
            call(*loaded)
    finally:
        loaded[0].eval()


def test_messages_go_through_the_template_and_its_words_are_not_explained(adapter, loaded):
    messages = [{"role": "system", "content": "Q: A:"}, {"role": "user", "content": f" {PROMPT}\n"}]
    explained = atman_bench.explain(adapter, messages=messages, target=" Bern")
    assert explained.prompt == f"<system> Q: A: </system> <user> {PROMPT} </user> <assistant>"
    assert explained.units.texts == tuple(f"Q: A: {PROMPT}".split())
    ids = loaded[1].apply_chat_template(
        [{**m, "content": m["content"].strip()} for m in messages], add_generation_prompt=True, return_dict=False
    )
    encoded = adapter.encode_text(ChatPrompt(explained.prompt, ()), " Bern")
    assert encoded.inputs["input_ids"][0].tolist() == list(ids)


@pytest.mark.parametrize(
    ("messages", "error", "said"),
    [
        ([], ConfigError, "messages are empty"),
        (["hello"], ConfigError, "a message is"),
        ([{"role": "user", "content": " "}], ConfigError, "not empty"),
        ([{"role": "user"}], ConfigError, "not empty"),
    ],
)
def test_what_are_no_messages_is_refused(adapter, messages, error, said):
    with pytest.raises(error, match=said):
        atman_bench.explain(adapter, messages=messages)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages[0]['content'] | upper }}", "changes what messages say"),
        ("{{ messages[0]['content'] + messages[0]['content'] }}", "says it twice"),
        ("{{ raise_exception('no user') }}", "refuses the messages"),
    ],
)
def test_a_template_that_hides_where_words_are_is_refused(loaded, template, said):
    tokenizer = word_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ModelError, match=said):
        atman_bench.explain(loaded[0], tokenizer=tokenizer, messages=[{"role": "user", "content": "Ada in Bern"}])


@pytest.mark.parametrize(
    ("prompt", "explained", "words"),
    [
        (PROMPT, "context", "Ada was born in Bern ."),
        ("Where does Ada live ? Ada was born in Bern .", "context", "Ada was born in Bern ."),
        ("Ada was in Rome . Ada was born in Bern .\nWhere ? A:", "context", "Ada was in Rome . Ada was born in Bern ."),
        (PROMPT, "4:12", "was born"),
    ],
)
def test_the_question_can_be_left_out_of_the_ranking(adapter, prompt, explained, words):
    result = atman_bench.explain(adapter, prompt=prompt, target=" Bern", explained=explained)
    assert result.units.texts == tuple(words.split())


def test_the_blank_before_a_question_is_no_context():
    """Tokens of most vocabularies begin with the blank before them: the question's first one would be ranked."""
    text = "Ada lives in Bern. Where does Ada live?"
    assert text[slice(*context_of(text, 0, len(text)))] == "Ada lives in Bern."


def test_context_of_a_chat_is_that_of_the_last_message(adapter):
    messages = [{"role": "system", "content": "Q: A: ?"}, {"role": "user", "content": PROMPT}]
    result = atman_bench.explain(adapter, messages=messages, target=" Bern", explained="context")
    assert result.units.texts == tuple(["Ada", "was", "born", "in", "Bern", "."])


def test_the_models_own_answer_is_explained_where_none_is_given(found):
    model = atman_bench.load_model("tiny-text", device="cpu")
    own = model.complete(found.prompt, 3)
    result = atman_bench.explain(model, prompt=found.prompt, max_new_tokens=3)
    assert result.answered
    assert len(result.target_texts) == len(own.ids)


@pytest.mark.parametrize(
    ("stop", "text", "tokens"),
    [
        (("\n",), "Ada was born in Bern and", 6),
        (("born",), "Ada was", 2),
        (("in", "was"), "Ada", 1),
        ((), "Ada was born in Bern and", 6),
        (("rn and",), "Ada was born in Be", 5),
    ],
)
def test_an_answer_ends_where_it_is_told_to(stop, text, tokens):
    tokenizer = word_tokenizer()
    ids = tokenizer("Ada was born in Bern and")["input_ids"]
    answer = completion_of(tokenizer, tokenizer("Q:")["input_ids"], ids, stop)
    assert answer.strip() == text
    assert len(answer.ids) == tokens


def test_its_short_form_says_what_matters_in_a_line(found):
    assert re.fullmatch(r"<Explanation of '.*' by atman:\S+ on tiny-text: \d+ units, top '\w+' .*>", repr(found))


def test_what_is_saved_is_read_back_to_the_last_bit(found, tmp_path):
    found.save(tmp_path / "found.json")
    again = atman_bench.Explanation.load(tmp_path / "found.json")
    assert torch.equal(again.scores, found.scores)
    assert torch.equal(again.per_target, found.per_target)
    assert again.to_dict() == found.to_dict()
    assert again.units == found.units
    assert again.options == {"kappa": 0.9}


def test_an_image_is_saved_with_its_patches(tmp_path):
    image = tiny_pictures.save_noise(tmp_path / "noise.png").path
    found = atman_bench.explain(
        tiny_pictures.adapter(), prompt="This is a", target=" cat", image=image, explained="both", method="attention"
    )
    found.save(tmp_path / "found.json")
    again = atman_bench.Explanation.load(tmp_path / "found.json")
    assert again.units == found.units
    assert again.heat().picture.shape == found.heat().picture.shape


@pytest.mark.parametrize(
    ("content", "said"), [("{", "is no saved explanation"), ("[]", "schema"), ('{"schema": 1}', "KeyError")]
)
def test_other_files_are_refused(tmp_path, content, said):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(DataError, match=said):
        atman_bench.Explanation.load(tmp_path / "other.json")
    with pytest.raises(DataError, match="cannot read"):
        atman_bench.Explanation.load(tmp_path / "nowhere.json")


def test_a_frame_has_a_line_for_each_token_or_word(found):
    tokens, words = found.to_dataframe(), found.to_dataframe(by="word")
    assert len(tokens) == len(found.units)
    assert words["score"].sum() == pytest.approx(tokens["score"].sum(), rel=1e-5)
    assert [found.prompt[a:b] for a, b in zip(words["start"], words["end"], strict=True)] == list(words["text"])
    with pytest.raises(UnknownNameError, match="valid: token, word"):
        found.to_dataframe(by="sentence")


def test_it_is_drawn_as_text_a_figure_and_a_page_in_a_frame(found, capsys):
    found.show()
    assert found.prompt in capsys.readouterr().out.replace("\n", "")
    assert found.plot().axes
    page = found._repr_html_()
    assert page.startswith("<iframe srcdoc=")
    assert "</iframe>" not in page[:-9]


def test_methods_are_compared_on_the_same_units(found):
    model = atman_bench.load_model("tiny-text", device="cpu")
    methods = ("atman", "attention", "atman")
    maps = [atman_bench.explain(model, prompt=found.prompt, method=method) for method in methods]
    together = atman_bench.compare(maps)
    assert together.names == (f"{maps[0].name} (1)", "attention", f"{maps[0].name} (2)")
    frame = together.to_dataframe()
    assert list(frame.columns[1:]) == list(together.names)
    assert np.allclose(np.diag(together.correlation()), 1)
    assert together._repr_html_().startswith("<iframe")
    with pytest.raises(ConfigError, match="same units and target"):
        atman_bench.compare([maps[0], atman_bench.explain(model, prompt="Bob lives in Rome. Q: Where? A:")])
    with pytest.raises(ConfigError, match="received none"):
        atman_bench.compare([])


SAMPLES = [
    {"prompt": "Ada was born in Bern . Q: Where ? A:", "target": " Bern", "evidence": "Bern", "id": "a"},
    {"prompt": "Ada was born in Rome . Q: Where ? A:", "target": " Rome", "evidence": [[16, 20]], "group": "g"},
    Sample("c", "Ada in Bern . A:", " Bern", (0, 13), CharSpans(((7, 11),)), "c"),
]


def test_methods_are_evaluated_on_samples_of_ones_own(adapter):
    calls = []
    rows = atman_bench.evaluate(
        adapter, SAMPLES, methods={"atman": {"f": 0.5}, "attention": {}}, progress=lambda *told: calls.append(told)
    )
    assert set(rows["uid"]) == {"a", "1", "c"}
    assert {"atman", "attention", "random", "uniform"} <= set(rows["method"])
    assert set(rows["status"]) == {"ok"}
    assert calls[-1][0] == calls[-1][1]
    table = atman_bench.summarise(rows)
    assert table.loc[table["method"] == "atman", "n"].tolist() == [3]
    assert table.loc[table["method"] == "uniform", "floor"].tolist() == [True]
    alone = atman_bench.evaluate(adapter, SAMPLES, methods=["attention"], baselines=False, metrics=["pointing_game"])
    assert set(alone["method"]) == {"attention"}
    assert set(alone["metric"]) == {"pointing_game"}


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ({"prompt": "Ada", "target": " x"}, r"samples\[0\]: evidence must be"),
        ({"prompt": "Ada", "target": " x", "evidence": "Bern"}, "does not hold the evidence 'Bern'"),
        ({"prompt": "Ada", "target": " x", "evidence": [[0, 9]]}, "must be words of the prompt or"),
        ({"prompt": "", "target": " x", "evidence": "x"}, "prompt must be a text"),
        ({"prompt": "Ada", "target": " x", "evidence": "Ada", "answer": 1}, "unknown key 'answer'"),
        ({"prompt": "Ada", "target": " x", "image": "a.png"}, "an image needs boxes"),
        (3, "neither a Sample nor a mapping"),
    ],
)
def test_a_sample_that_lacks_something_is_named(adapter, sample, said):
    with pytest.raises(DataError, match=said):
        atman_bench.evaluate(adapter, [sample])


def test_no_samples_are_refused(adapter):
    with pytest.raises(DataError, match="no samples"):
        atman_bench.evaluate(adapter, [])


@pytest.mark.parametrize(
    ("text", "spans", "groups"),
    [
        ("unhappy cat.", [(0, 2), (2, 7), (7, 11), (11, 12)], [[0, 1], [2], [3]]),
        ("it's", [(0, 2), (2, 4)], [[0, 1]]),
        ("a  b", [(0, 1), (1, 3), (3, 4)], [[0], [1], [2]]),
        ("東京", [(0, 1), (1, 2)], [[0], [1]]),
        ("ab", [None, (0, 1), (1, 2), None], [[0], [1, 2], [3]]),
        ("", [], []),
    ],
)
def test_words_are_runs_of_letters_or_of_punctuation(text, spans, groups):
    assert words_of(text, spans) == groups


def test_public_names_are_there():
    for name in atman_bench.__all__:
        assert getattr(atman_bench, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'explane'"):
        _ = atman_bench.explane


def test_saved_files_are_plain_json(found, tmp_path):
    found.save(tmp_path / "found.json")
    content = json.loads(Path(tmp_path / "found.json").read_text())
    assert content["scores"] == found.scores.tolist()
