"""The driver on real Ray, on this machine's loopback interface alone."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent
ALONE = ("unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
"""What runs a command where no other interface exists: Ray would listen on it."""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, dict]:
    """What sessions gave."""
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    if shutil.which("unshare") is None or subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network of its own can be made for a process here (unshare --net)")
    folder = tmp_path_factory.mktemp("ray")
    paths = os.pathsep.join(map(str, (TESTS.parent, TESTS)))
    environment = {**os.environ, "PYTHONPATH": paths, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    command = [*ALONE, sys.executable, str(TESTS / "ray_session.py"), str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


def values(samples: range, without: tuple[int, ...] = ()) -> dict[str, int | None]:
    return {str(sample): None if sample in without else 3 * sample for sample in samples}


def test_actors_that_die_hang_and_raise_lose_and_double_nothing(found):
    fates = found["session"]["fates"]
    assert found["session"]["workers"] == 2
    assert fates["most"] == 1
    assert fates["values"] == values(range(60), without=(40, 30, 20, 10))
    assert any("no answer within 2 s" in said for said in fates["said"])
    assert any("illegal memory access" in said for said in fates["said"])
    assert any("no such number" in said for said in fates["said"])
    assert fates["lost"] == 7


def test_results_that_fill_the_object_store_all_arrive(found):
    assert found["session"]["large"]["values"] == values(range(12))


def test_a_session_that_was_there_is_left_and_one_that_was_started_ends(found):
    assert found["session"]["left"]
    assert not found["own"]["left"]
    assert found["own"]["values"] == values(range(5))


def test_a_node_that_is_removed_in_the_middle_costs_nothing_but_time(found):
    cluster = found["cluster"]
    assert cluster["before"]["values"] == values(range(10))
    assert cluster["after"]["most"] == 1
    assert cluster["after"]["values"] == values(range(100))
    assert cluster["after"]["lost"] >= 1
