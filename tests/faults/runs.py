"""Commands that run in processes of their own, and what they leave in a results folder."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
COMMANDS = {
    "eval": ("eval", "--limit", "10"),
    "sweep": ("sweep", "--limit", "6", "--grid", "methods.fake.kappa=[null,0.7]", "--grid", "methods.fake.f=[0.5,0.9]"),
    "accuracy": ("accuracy", "--limit", "20"),
    "reproduce": ("reproduce", "all"),
}
WRITTEN = ("table.md", "results.json", "sweep.md", "accuracy.md", "report.md")
"""What commands write beside what they store."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, minus the signal that ended it, and what it printed."""

    code: int
    printed: str


class Nursery:
    """See ``nursery.py``."""

    def __init__(self) -> None:
        paths = os.pathsep.join(map(str, (TESTS.parent, TESTS)))
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )

    def _ask(self, **request: object) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, command: Sequence[str], results: Path, **fault: object) -> int:
        """Begin a command; its process id."""
        return self._ask(argv=[*command, "--quiet", "--results", str(results)], **fault)["pid"]

    def end(self, pid: int) -> Ended:
        """Wait for a command."""
        return Ended(**self._ask(wait=pid))

    def run(self, command: Sequence[str], results: Path, **fault: object) -> Ended:
        """A whole command."""
        return self.end(self.start(command, results, **fault))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def stored(results: Path) -> dict[str, list[str]]:
    """Every record that a folder stores, of whichever process: folder and kind -> records in order, with doubles."""
    found: dict[str, list[str]] = {}
    for path in results.rglob("*.jsonl"):
        lines = [json.loads(line, parse_int=float) for line in path.read_text().split("\n")[:-1]]
        kind = path.name.partition("-")[0]
        records = [json.dumps(line, sort_keys=True) for line in lines if "header" not in line]
        found.setdefault(f"{path.parent.relative_to(results)}/{kind}", []).extend(records)
    return {name: sorted(records) for name, records in found.items() if records}


def written(results: Path) -> dict[str, str]:
    """The tables that a command wrote."""
    files = [results / name for name in WRITTEN if (results / name).is_file()]
    return {file.name: file.read_text().replace(str(results), "RESULTS") for file in files}
