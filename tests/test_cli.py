import json
import os
import sys

import pytest
from lines import lines_in

from atman_bench.cli import app
from atman_bench.evaluation import explaining, runner
from atman_bench.metrics import chosen_metrics


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder; return its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["atman-bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            app.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


def test_eval_prints_the_table_and_writes_rows_table_and_figures(command, fakes, tmp_path):
    code, out, err = command("eval", "--limit", "5", "--results", "out", "--methods", "fake,noise")
    assert (code, err) == (0, "")
    assert "fake" in out
    assert "mAP" in out
    assert len({r.uid for r in lines_in(tmp_path / "out")}) == 5
    assert "| fake" in (tmp_path / "out" / "table.md").read_text()
    assert (tmp_path / "out" / "figures" / "methods_bar.png").exists()


def test_quiet_says_nothing(command, fakes):
    assert command("eval", "--limit", "2", "--quiet") == (0, "", "")


def test_eval_writes_its_table_for_other_programs(command, fakes, tmp_path):
    command("eval", "--limit", "3", "--quiet", "--methods", "fake")
    records = json.loads((tmp_path / "results" / "results.json").read_text())
    assert {(r["method"], r["metric"], r["n"]) for r in records} == {
        ("fake", metric, 3) for metric in chosen_metrics(())
    }


def test_metrics_that_are_not_computed_by_default_are_had_by_name(command, fakes, tmp_path):
    command("eval", "--limit", "3", "--quiet", "--methods", "fake")
    default = (tmp_path / "results" / "table.md").read_text()
    assert "rank AUC" not in default
    rows = sorted((tmp_path / "results").rglob("rows-*.jsonl"))
    stored = [path.read_bytes() for path in rows]
    code, out, err = command("table", "results", "--metrics", "rank-auc,recovery_at_10", "--format", "markdown")
    assert (code, err) == (0, "")
    header = next(line for line in out.splitlines() if line.startswith("| method"))
    assert "| rank AUC | R@10 |" in header
    assert "mAP" not in header.partition("| R@10 |")[0]
    assert [path.read_bytes() for path in rows] == stored
    assert "rank AUC" in command("table", "results", "--metrics", "rank_auc")[1]  # the terminal's too
    command("eval", "--limit", "3", "--quiet", "--methods", "fake", "--metrics", "rank_auc")
    assert "| rank AUC |" in (tmp_path / "results" / "table.md").read_text()
    command("eval", "--limit", "3", "--quiet", "--methods", "fake")
    assert (tmp_path / "results" / "table.md").read_text() == default


def test_an_unknown_metric_of_a_table_is_one_line_with_near_misses(command, fakes):
    command("eval", "--limit", "2", "--quiet", "--methods", "fake")
    code, out, err = command("table", "results", "--metrics", "rank_acu")
    assert (code, out) == (2, "")
    assert "rank_auc" in err
    assert err.count("\n") == 1


def test_table_prints_json_and_csv_and_nothing_else(command, fakes, tmp_path):
    command("eval", "--limit", "3", "--quiet")
    code, out, err = command("table", "results", "--format", "json", "--out", "t.json")
    assert (code, err) == (0, "")
    records = json.loads(out)
    assert {(r["method"], r["n"]) for r in records} == {("fake", 3), ("noise", 3)}
    assert (tmp_path / "t.json").read_text() == out
    code, out, _ = command("table", "results", "--format", "csv")
    assert out.splitlines()[0].startswith("dataset,model,sign,method,variant,floor,metric,mean,low,high")
    assert len(out.splitlines()) == 1 + len(records)


def test_table_draws_what_it_shows_each_sign_rule_by_itself(command, fakes, tmp_path):
    command("eval", "--limit", "6", "--quiet")
    assert command("table", "results", "--figures", "drawn")[0] == 0
    assert (tmp_path / "drawn" / "methods_bar.png").is_file()
    assert command("table", "results", "--sign", "positive,absolute", "--figures", "both")[0] == 0
    folders = sorted(path.name.rpartition("-")[2] for path in (tmp_path / "both").iterdir())
    assert folders == ["absolute", "positive"]


def test_table_compares_on_common_samples_and_shows_all_on_request(command, fakes, tmp_path):
    command("eval", "--limit", "6", "--quiet", "--methods", "fake")
    command("eval", "--limit", "2", "--quiet", "--methods", "noise")
    _, out, _ = command("table", "results", "--format", "json")
    assert {(r["method"], r["n"]) for r in json.loads(out)} == {("fake", 2), ("noise", 2)}
    assert "2 of 6 samples" in command("table", "results")[1]
    _, out, _ = command("table", "results", "--format", "json", "--all-samples")
    assert {(r["method"], r["n"]) for r in json.loads(out)} == {("fake", 6), ("noise", 2)}


def test_results_compact_says_what_it_did_and_tables_stay(command, fakes, tmp_path):
    command("eval", "--limit", "3", "--quiet")
    before = command("table", "results")[1]
    code, out, err = command("results", "compact", "results")
    assert (code, err) == (0, "")
    assert "2 cells, 6 maps and 6 rows" in out
    assert command("table", "results")[1] == before
    assert not list((tmp_path / "results").rglob("*.jsonl"))


def test_a_dry_run_says_what_would_run(command, fakes, tmp_path):
    code, out, _ = command("eval", "--limit", "5", "--dry-run")
    assert code == 0
    assert "forward passes at most" in out
    assert "peak memory" in out
    assert not (tmp_path / "results").exists()


def test_ctrl_c_says_what_is_stored_and_that_the_run_resumes(command, fakes, monkeypatch):
    def interrupted(*_: object) -> None:
        if len(fakes.explained) == 3:
            raise KeyboardInterrupt
        return fakes.explain_encoded(*_)

    monkeypatch.setattr(explaining, "explain_encoded", interrupted)
    code, _, err = command("eval", "--limit", "5", "--quiet")
    assert code == 130
    assert "3 explanations are stored" in err
    assert "7 remain" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--methods", "fakee"], "did you mean 'fake'"),
        (["--set", "methods.fake.kapa=0.5"], "did you mean 'kappa'"),
        (["--set", "methods.fake.kappa=high"], "must be a number or null"),
        (["--model", "nothing"], "unknown model 'nothing'"),
        (["--dataset", "squad", "--data", "missing.json"], "missing.json"),
        (["--config", "missing.yaml"], "no configuration file missing.yaml"),
        (["--results", "taken"], "cannot be written to"),
        (["--max-tokens", "1"], "no sample of facts is usable"),
        (["--limit", "0"], "limit must be at least 1"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command, fakes, tmp_path, arguments, said):
    (tmp_path / "taken").write_text("")
    code, out, err = command("eval", *arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert not out


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_read_only_results_folder_is_one_line(command, fakes, tmp_path):
    (tmp_path / "results").mkdir(mode=0o500)
    code, _, err = command("eval", "--limit", "1")
    assert code == 2
    assert "make this one writable" in err


def test_a_corrupted_row_is_one_line_and_loses_nothing(command, fakes, tmp_path):
    command("eval", "--limit", "2", "--quiet", "--methods", "fake")
    (path,) = tmp_path.rglob("rows-*.jsonl")
    path.write_text("{broken\n" + path.read_text())
    damaged = path.read_bytes()
    code, _, err = command("eval", "--limit", "2", "--methods", "fake")
    assert code == 2
    assert f"{path.name}, line 1 is corrupted" in err
    assert path.read_bytes() == damaged


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["methods", "atman"], ["atman", "kappa", "atman:literal", "Similarity from which"]),
        (["datasets", "squad"], ["squad", "template"]),
        (["models"], ["tiny-text", "hf:", "OFA"]),
        (["metrics"], ["average_precision", "higher is better", "recovery_at_10", "only where --metrics"]),
        (["experiments", "table1a"], ["table1a"]),
    ],
)
def test_list_shows_entries_with_their_options(command, arguments, shown):
    code, out, _ = command("list", *arguments)
    assert code == 0
    assert not [text for text in shown if text not in out]


def test_table_rescores_stored_maps_and_compares_in_pairs(command, fakes, tmp_path):
    command("eval", "--limit", "4", "--quiet", "--methods", "fake,noise", "--results", "out")
    code, out, err = command("table", "out", "--sign", "squared", "--reference", "fake", "--out", "t.md")
    assert (code, err) == (0, "")
    assert "sign squared" in out
    assert "minus fake" in out
    assert "| noise |" in (tmp_path / "t.md").read_text()
    assert {row.sign for row in lines_in(tmp_path / "out")} == {"positive"}  # a table writes nothing


def test_table_names_the_sign_rules_there_are(command, fakes):
    command("eval", "--limit", "1", "--quiet", "--methods", "fake", "--results", "out")
    code, _, err = command("table", "out", "--sign", "squard")
    assert code == 2
    assert "did you mean 'squared'" in err


def test_ctrl_c_before_the_first_explanation_says_what_is_stored(command, fakes, monkeypatch):
    def interrupted(config, progress, overwrite, driver, split):
        return runner.RunSummary((), (), (), (), 0, {}, remaining=4, interrupted=True, skipped={}, first_error=None)

    monkeypatch.setattr(runner, "evaluate", interrupted)
    code, _, err = command("eval", "--limit", "2")
    assert code == 130
    assert err.startswith("stopped: 0 explanations are stored")
    assert err.count("\n") == 1
