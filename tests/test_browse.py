"""``atman-bench browse``: a page of stored samples."""

import json
import re
import sys

import numpy as np
import pytest

from atman_bench.cli.app import main
from atman_bench.report.browse import disagreement


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of a text dataset on the embedded model."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        arguments = [
            "eval",
            "-q",
            "--methods",
            "attention,rollout",
            "--limit",
            "4",
            "--device",
            "cpu",
            "-r",
            str(folder),
        ]
        patch.setattr(sys, "argv", ["atman-bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    return folder


@pytest.fixture
def browse(monkeypatch, capsys, tmp_path):
    def call(*arguments: str) -> tuple[int, str, dict]:
        page = tmp_path / "page.html"
        monkeypatch.setattr(sys, "argv", ["atman-bench", "browse", *arguments, "-o", str(page)])
        with pytest.raises(SystemExit) as ended:
            main()
        if ended.value.code:
            return int(ended.value.code), capsys.readouterr().err, {}
        text = page.read_text()
        content = re.search(r'<script type="application/json" id="content">(.*?)</script>', text, re.DOTALL)[1]
        return 0, text, json.loads(content)

    return call


def test_the_page_holds_every_sample_with_every_method_and_loads_nothing(browse, results):
    code, text, content = browse(str(results))
    assert code == 0
    assert not re.search(r"https?:|<link|@import|src=\"(?!data:)", text)
    assert len(content["samples"]) == 4
    assert content["methods"][:2] == ["attention", "rollout"]
    assert set(content["floors"]) == set(content["methods"][2:])
    for sample in content["samples"]:
        assert {method["name"] for method in sample["view"]["methods"]} == set(content["methods"])
        assert "".join(text for text, _ in sample["view"]["pieces"]).count("Q:") >= 1
        units = len(sample["view"]["texts"])
        assert all(len(method["maps"][0]["scores"]) == units for method in sample["view"]["methods"])
        evidence = [
            text for text, share in zip(sample["view"]["texts"], sample["view"]["evidence"], strict=True) if share
        ]
        assert evidence
        assert 0 <= sample["disagreement"] <= 2


def test_chosen_methods_metrics_and_samples(browse, results):
    _, _, content = browse(str(results), "--methods", "rollout", "--metrics", "rank_auc", "--n", "2")
    assert content["methods"] == ["rollout"]
    assert len(content["samples"]) == 2
    assert all(len(sample["values"]["rollout"]) == 1 for sample in content["samples"])
    assert content["samples"][0]["disagreement"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--methods", "atmann"), "unknown method in"),
        (("--dataset", "squad"), "unknown dataset in"),
        (("--sign", "odd"), "unknown sign rule"),
        (("--tokenizer", "no-model"), "unknown model"),
    ],
)
def test_what_is_not_there_is_one_line(browse, results, arguments, said):
    code, err, _ = browse(str(results), *arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_an_empty_folder_says_what_to_run(browse, tmp_path):
    code, err, _ = browse(str(tmp_path / "nothing"))
    assert code == 2
    assert err.count("\n") == 1


def test_disagreement_is_0_for_equal_orders_and_2_for_opposite_ones():
    up, down = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    assert disagreement([up, 10 * up]) == pytest.approx(0)
    assert disagreement([up, down]) == pytest.approx(2)
    assert disagreement([up]) is None
    assert disagreement([up, np.ones(3)]) is None  # a constant map has no order
