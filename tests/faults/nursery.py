"""A process that imports everything once and forks a child for each command line, which then runs within a second.

    python nursery.py    reads a line of JSON for each request from stdin, and answers each with a line

``{"argv": [...], ...}`` starts a command whose model takes no time, and answers with its process id; the further keys
are the fields of ``Fault``. ``{"wait": PID}`` answers with its exit code, minus the signal that ended it, and with what
it printed.
"""

import json
import mmap
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import psutil
import sklearn.metrics
import torch
from fakes import Fakes

from atman_bench.cli.app import main
from atman_bench.core.records import Sample
from atman_bench.core.tensors import Encoded, Explanation
from atman_bench.evaluation import accuracy, asking
from atman_bench.paper.experiments import EXPERIMENTS
from atman_bench.paper.experiments._base import Experiment, Preset
from atman_bench.paper.kinds.evaluation import Evaluation
from atman_bench.report import accuracy as accuracy_report
from atman_bench.report import figures, grid, machine, page, render, tables

IMPORTED = (accuracy_report, grid, machine, page, render, sklearn.metrics, tables)
"""What commands import when they run."""

LONGEST = 60
"""Seconds after which a command that hangs is ended by a signal."""

HUGE = 2**36
SPARE = 2**28
"""Bytes that nobody has, and those that a command with a limit has beside what this process takes."""

HUNGRY: dict[str, Callable[[], object]] = {
    "torch": lambda: torch.empty(HUGE, dtype=torch.uint8),
    "python": lambda: bytearray(HUGE),
    "mmap": lambda: mmap.mmap(-1, HUGE),
}
"""Allocators that ask for more than there is, and report it in different ways."""


@dataclass(frozen=True)
class Fault:
    """What a command meets.

    Attributes:
        delay: Seconds that each explanation or answer takes.
        file_bytes: How large a file can become, None without a limit.
        hungry: Sample -> the allocator that explaining it or answering it asks for ``HUGE`` bytes.
    """

    delay: float = 0.0
    file_bytes: int | None = None
    hungry: dict[str, str] | None = None


class Answerer:
    """Answers that depend on the question, after some time."""

    name, content_hash, dtype_name, device = "stand-in", "0", "float32", "cpu"

    def __init__(self, delay: float):
        self._delay = delay

    def complete(self, prompt: str, max_new_tokens: int, picture: object = None) -> str:
        time.sleep(self._delay)
        return prompt.split()[len(prompt) % 20]


def install(fault: Fault) -> None:
    """Put everything in place that takes no time, for good: this process runs one command."""
    fakes = Fakes(delay=fault.delay)
    explain, complete = fakes.explain_encoded, asking.complete_after

    def allocate(uid: str) -> None:
        if fault.hungry and uid in fault.hungry:
            HUNGRY[fault.hungry[uid]]()

    def explain_encoded(adapter: object, encoded: Encoded, *arguments: object) -> Explanation:
        allocate(encoded.uid)
        return explain(adapter, encoded, *arguments)

    def complete_after(adapter: object, sample: Sample, *arguments: object) -> str:
        allocate(sample.uid)
        return complete(adapter, sample, *arguments)

    fakes.explain_encoded, asking.complete_after = explain_encoded, complete_after
    fakes.install(lambda mapping, key, value: mapping.__setitem__(key, value), setattr)
    figures.draw_all = lambda *_: {}  # which would take most of the time, and stores nothing
    accuracy.load_configured = lambda run: Answerer(fault.delay)
    run = Evaluation({"dataset": "facts", "methods": ["fake", "noise"], "limit": 10})
    left_out = {Preset.SMALL: "not today", Preset.PAPER: "not today"}
    experiment = Experiment("Title", "Table 9", {Preset.TINY: run}, left_out)
    EXPERIMENTS.__dict__["_own"] = frozenset({"table9"})
    sys.modules["atman_bench.paper.experiments.table9"] = SimpleNamespace(SPEC=experiment)
    if fault.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.file_bytes, fault.file_bytes))
    if fault.hungry is not None:
        limit = psutil.Process().memory_info().vms + SPARE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def run(output: int, argv: list[str], **fault: object) -> None:
    """Run a command in this process, which prints to a file descriptor, and end with the command's exit code."""
    code: object = 1
    try:
        signal.alarm(LONGEST)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(output, 1)
        os.dup2(output, 2)
        install(Fault(**fault))
        sys.argv = ["atman-bench", *argv]
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def serve() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to this process too, which the tests end
    printed: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            code = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
            with os.fdopen(printed.pop(request["wait"])) as output:
                answer = {"code": code, "printed": output.read()}
        else:
            # A pipe and no file: how large files can become is one of the faults.
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                run(writing, **request)
            os.close(writing)
            printed[pid] = reading
            answer = {"pid": pid}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
