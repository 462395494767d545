"""``benchmarks/split.py`` on a short sample: what is measured, and what is predicted of it."""

import json
import sys
from pathlib import Path

import pytest
from driven import ForkPool

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import split  # noqa: E402

sys.path.remove(str(BENCHMARKS))


def test_the_slowest_share_decides():
    batches = [split.Batch([0, 1], 8), split.Batch([2, 3], 6), split.Batch([4], 0)]  # 4, 8 and 10 positions
    sample = split.UsableSample(None, (), None, 10, 1, None)
    case = split.Case(None, sample, batches)
    rates = split.Rates(begin=100, answer=50, position=1, overhead=7)
    assert rates.predicted(case, 1) == 7 + 100 + 50 + 22
    assert rates.predicted(case, 2) == 7 + 100 + 50 + 12  # two batches, then one
    assert rates.predicted(case, 1000) == 7 + 100 + 50  # the first share has none


@pytest.mark.slow
def test_numbers_of_workers_are_measured_and_give_one_map(tmp_path, monkeypatch, one_thread):
    monkeypatch.setattr(split, "LocalPool", ForkPool)
    split.main(["tiny-text=40", "--workers", "1,2", "--repeats", "1", "--out", str(tmp_path)])
    (record,) = json.loads((tmp_path / "split.json").read_text())["models"]
    assert [(one["workers"], one["same"], len(one["shares"])) for one in record["measured"]] == [
        (1, True, 1),
        (2, True, 2),
    ]
    assert record["predicted"].keys() == {str(workers) for workers in split.PREDICTED}
    assert "| 64 |" in (tmp_path / "split.md").read_text()
    assert (tmp_path / "split.png").stat().st_size > 0
