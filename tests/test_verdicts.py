"""Verdicts on claims: what counts, what is corrected, and what is measured of artefacts."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from atman_bench.core.records import Status
from atman_bench.methods.floors import FLOORS
from atman_bench.paper.experiments import EXPERIMENTS
from atman_bench.paper.experiments._base import RECALL, Beats, Gathers, Preset, Region, Undecided
from atman_bench.paper.kinds._base import untested
from atman_bench.paper.kinds._paired import paired_test, paired_verdict
from atman_bench.paper.kinds.positions import region_of
from atman_bench.paper.kinds.steering import Continuations
from atman_bench.report.verdicts import Ending, Verdict, corrected, headline, holm


def rows(**values: list[float]) -> pd.DataFrame:
    """Rows of one method: metric -> values of samples, each in a group of its own."""
    lines = [
        {"uid": f"q{i}", "group": f"g{i}", "metric": metric, "value": value, "status": Status.OK}
        for metric, of_metric in values.items()
        for i, value in enumerate(of_metric)
    ]
    return pd.DataFrame(lines)


def level(value: float, n: int = 20, spread: float = 0.01) -> list[float]:
    """Values around one, different from sample to sample."""
    return [value + spread * np.sin(i) for i in range(n)]


def verdict(claim: Beats, left: dict, right: dict) -> Verdict:
    return paired_verdict(claim, rows(**left), rows(**right), ("a", "b"))


def test_metrics_that_disagree_have_a_verdict_each():
    left = {"average_precision": level(0.6), "auprc": level(0.3), RECALL: level(0.5)}
    right = {"average_precision": level(0.5, spread=0.02), "auprc": level(0.5, spread=0.02), RECALL: level(0.5)}
    found = verdict(Beats("a", "b", source="Table 1a"), left, right)
    assert (found.ending, found.ranking) == (Ending.HOLDS, Ending.OPPOSITE)
    assert found.disagree
    assert "mAP +10.0" in found.because
    assert "AUPRC -20.0" in found.because
    assert "mAR +0.0" in found.because
    assert "rewards maps that are quiet" in found.details


def test_a_claim_about_recall_is_decided_by_recall():
    left = {"average_precision": level(0.6), "auprc": level(0.6), RECALL: level(0.3)}
    right = {"average_precision": level(0.5), "auprc": level(0.5), RECALL: level(0.5, spread=0.02)}
    found = verdict(Beats("a", "b", RECALL), left, right)
    assert found.ending is Ending.OPPOSITE
    assert found.ranking is None  # tested with the claim about AP, and not twice
    assert "AUPRC +10.0" in found.because


@pytest.mark.parametrize(
    ("difference", "smallest", "ending"),
    [
        (0.005, 1.0, Ending.NEGLIGIBLE),
        (0.0, 1.0, Ending.NEGLIGIBLE),
        (0.005, 0.1, Ending.HOLDS),
        (0.02, 1.0, Ending.HOLDS),
        (0.02, 5.0, Ending.NEGLIGIBLE),
    ],
)
def test_a_difference_has_to_matter(difference, smallest, ending):
    claim = Beats("a", "b", smallest=smallest)
    left, right = level(0.5 + difference, spread=0.001), level(0.5, spread=0.0)
    assert verdict(claim, {"average_precision": left}, {"average_precision": right}).ending is ending


def test_an_interval_that_reaches_beyond_the_smallest_difference_leaves_the_claim_open():
    """+0.8 points, clearly above 0, and perhaps more than 1 point: neither shown to matter nor not to."""
    gains = np.array([0.004, 0.012] * 10)
    claim = Beats("a", "b")
    found = verdict(claim, {"average_precision": list(0.5 + gains * 1.0)}, {"average_precision": [0.5] * 20})
    assert found.ending is Ending.NEGLIGIBLE
    wide = np.array([0.0, 0.018] * 10)
    found = verdict(claim, {"average_precision": list(0.5 + wide)}, {"average_precision": [0.5] * 20})
    assert found.ending is Ending.OPEN


def test_fewer_than_five_groups_have_no_interval():
    few = {"average_precision": level(0.9, n=4)}
    found = verdict(Beats("a", "b"), few, {"average_precision": level(0.1, n=4)})
    assert found.ending is Ending.OPEN
    assert "too few for an interval" in found.because
    assert "[" not in found.because


def test_holm_is_the_step_down_procedure():
    """By hand: 0.01 x 4, 0.02 x 3, 0.03 x 2 (no smaller than the one before), 0.5 x 1."""
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def of_test(p: float, source: str = "Table 1a", ranking_p: float | None = None) -> Verdict:
    ranking = None if ranking_p is None else Ending.HOLDS
    return Verdict("a claim", Ending.HOLDS, "Numbers.", source, ranking, p, ranking_p)


def test_verdicts_are_corrected_for_their_number():
    found = corrected([of_test(0.02), of_test(0.001), of_test(0.04)])
    assert [verdict.ending for verdict in found] == [Ending.HOLDS, Ending.HOLDS, Ending.HOLDS]
    found = corrected([of_test(0.03), of_test(0.001), of_test(0.04)])
    assert [verdict.ending for verdict in found] == [Ending.OPEN, Ending.HOLDS, Ending.OPEN]
    assert "Holm-corrected p = 0.06 (3 tests)" in found[0].because


def test_sanity_checks_and_the_ranking_are_families_of_their_own():
    claims = [of_test(0.04, ranking_p=0.03), of_test(0.001, ranking_p=0.03)]
    checks = [of_test(0.9, source="") for _ in range(20)]
    found = corrected([*claims, *checks])
    assert [verdict.ending for verdict in found[:2]] == [Ending.HOLDS, Ending.HOLDS]
    assert [verdict.ranking for verdict in found[:2]] == [Ending.OPEN, Ending.OPEN]


def test_the_headline_counts_claims_apart_from_sanity_checks():
    claims = [
        Verdict("one", Ending.HOLDS, "", "A.4", Ending.OPPOSITE),
        Verdict("two", Ending.OPEN, "", "A.4"),
        Verdict("three", Ending.UNTESTED, "no weights", "Table 3"),
    ]
    text = headline([*claims, Verdict("better than chance", Ending.HOLDS, "")])
    assert "Of 3 claims of the paper 2 were tested: 1 hold, 1 are undecided." in text
    assert "of the 1 claims about mAP 1 are contradicted; the two verdicts differ on 1." in text
    assert "Sanity checks, which the paper does not state: 1 tested: 1 hold." in text


def test_a_claim_that_no_run_decides_says_what_would():
    claim = Undecided("chat helps", "A.10", "No pair of models.")
    assert untested(claim, "nothing was run") == Verdict("chat helps", Ending.UNTESTED, "No pair of models.", "A.10")


def test_the_papers_claims_are_tested_once():
    """One sentence of the paper is one claim, whichever tables and figures show it."""
    for preset in Preset:
        tests = [
            (repr(experiment.runs.get(preset)), claim.left, claim.right, getattr(claim, "metric", None))
            for experiment in map(EXPERIMENTS.get, EXPERIMENTS.names)
            if experiment.runs.get(preset)
            for claim in experiment.claims
            if isinstance(claim, Beats) and claim.source
        ]
        assert len(tests) == len(set(tests))


def test_floors_are_never_a_claim_of_the_paper():
    claims = [claim for name in EXPERIMENTS.names for claim in EXPERIMENTS.get(name).claims]
    against_floors = [claim for claim in claims if isinstance(claim, Beats) and claim.right.split("/")[-1] in FLOORS]
    assert against_floors
    assert all(not claim.source for claim in against_floors)


@pytest.mark.parametrize(
    ("region", "inside"),
    [
        (Region.LAST_TWO, [10, 11]),
        (Region.FIRST_TWO, [0, 1]),
        (Region.FIRST_ROW, [0, 1, 2, 3]),
        (Region.EDGE, [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]),
    ],
)
def test_regions_of_a_grid_of_three_rows_and_four_columns(region, inside):
    assert np.flatnonzero(region_of(region, (3, 4))).tolist() == inside


def test_a_share_is_compared_with_that_of_a_uniform_map():
    index = [f"q{i}" for i in range(12)]
    share = pd.DataFrame({"value": level(0.3, n=12), "group": index}, index=index)
    uniform = share.assign(value=2 / 144)
    test = paired_test("share", share, uniform, 1.0)
    assert test.ending is Ending.HOLDS
    assert 100 * test.paired.difference == pytest.approx(100 * (np.mean(level(0.3, n=12)) - 2 / 144))


def test_artefacts_are_measured_on_the_maps_of_the_pictures():
    claims = EXPERIMENTS.get("artefacts").claims
    assert {claim.region for claim in claims if isinstance(claim, Gathers)} == {Region.LAST_TWO, Region.EDGE}


def continuations(**shifts: tuple[float, float]) -> Continuations:
    """The word "soccer" with these factors -> its shift at the first step."""

    def steered(shift: float) -> SimpleNamespace:
        return SimpleNamespace(topics=[SimpleNamespace(word="soccer", first=SimpleNamespace(shift=shift))])

    return Continuations({}, (), "m", tuple(("soccer", factor, steered(shift)) for factor, shift in shifts.values()))


@pytest.mark.parametrize(
    ("amplified", "suppressed", "ending"),
    [
        (0.5, -0.3, Ending.HOLDS),
        (-0.5, 0.3, Ending.OPPOSITE),
        (8e-06, -8e-06, Ending.NEGLIGIBLE),
        (0.5, -8e-06, Ending.MIXED),
    ],
)
def test_a_shift_of_a_few_millionths_of_a_nat_holds_nothing(amplified, suppressed, ending):
    outcome = continuations(up=(2.0, amplified), down=(0.1, suppressed))
    (found,) = outcome.verdicts(EXPERIMENTS.get("fig2b"))
    assert (found.ending, found.source) == (ending, "Fig. 2b")
