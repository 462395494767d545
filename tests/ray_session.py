"""Runs a driver on real Ray sessions, where only the loopback interface exists: ``python ray_session.py FOLDER``.

Prints a line of JSON: what each session gave.
"""

import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import ray
from driver_works import Fate, Large, Number, Times
from ray.cluster_utils import Cluster

from atman_bench.evaluation.driver.loop import Driver
from atman_bench.evaluation.driver.ray_pool import RayPool
from atman_bench.evaluation.driver.work import Lot, Work

CPUS = 2
STORE = 80 * 2**20
"""Bytes of the object store of the first session, the least that Ray takes."""


def run(driver: Driver, work: Work, samples: range = range(60)) -> dict[str, object]:
    """The results of some samples, how often each came, and how many workers were lost."""
    found = list(driver.run([Lot.longest_first(work, samples, float)]))
    most = max(Counter(sample for sample, *_ in found).values())
    values = {sample: value for sample, value, *_ in sorted(found, key=lambda result: result[0])}
    said = [by for _, value, by in found if value is None]
    return {"values": values, "most": most, "said": said, "lost": sum(len(member.lost) for member in driver.members)}


def session(folder: Path) -> dict[str, object]:
    """A session of this process that was there before, which stays; workers that die, hang and return much."""
    ray.init(address="local", num_cpus=CPUS, object_store_memory=STORE, include_dashboard=False, log_to_driver=False)
    driver = Driver(RayPool("auto", None, 1, None), item_timeout=2)
    model = Number(3, folder)
    fates = {50: Fate.KILL_ONCE, 40: Fate.KILL, 30: Fate.HANG, 20: Fate.RAISE, 10: Fate.STICK}
    found = {"workers": len(driver.members), "fates": run(driver, Times(model, fates))}
    found["large"] = run(driver, Large(model, 20 * 2**20), range(12))
    driver.close()
    found["left"] = ray.is_initialized()
    ray.shutdown()
    return found


def cluster(folder: Path) -> dict[str, object]:
    """Two nodes on this machine, of which one is removed in the middle of a run."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = nodes.add_node(num_cpus=1)
    driver = Driver(RayPool(nodes.address, 2, 1, None))
    work = Times(Number(3, folder), seconds=0.05)
    before = run(driver, work, range(10))

    def remove() -> None:
        while not any(member.items for member in driver.members) or driver.alive < 2:
            time.sleep(0.05)
        nodes.remove_node(second, allow_graceful=False)

    threading.Thread(target=remove).start()
    found = {"before": before, "after": run(driver, work, range(100)), "nodes": len(ray.nodes())}
    driver.close()
    nodes.shutdown()
    return found


def own(folder: Path) -> dict[str, object]:
    """A session that is started for the run and ends with it."""
    driver = Driver(RayPool("auto", 1, 1, 0.0))
    found = run(driver, Times(Number(3, folder)), range(5))
    driver.close()
    return {**found, "left": ray.is_initialized()}


if __name__ == "__main__":
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    folders = [Path(sys.argv[1]) / name for name in ("session", "own", "cluster")]
    for made in folders:
        made.mkdir()
    one, two, three = folders
    sys.stdout.write(json.dumps({"session": session(one), "own": own(two), "cluster": cluster(three)}) + "\n")
