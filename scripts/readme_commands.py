"""Run the README's commands one by one, as a newcomer would: from a wheel, in an empty environment and an empty folder.

python scripts/readme_commands.py --constraints constraints.txt    # or: make readme

Lines for a checkout (``make ...``, ``pip install ...``) are listed and not run. A block of JSON is written to the file
that the next command calls ``--data``; ``--model`` stands where a command says ``FOLDER_OR_HUB_ID``.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
PLACEHOLDER = "FOLDER_OR_HUB_ID"
LIMIT = 3600
"""Seconds after which a command is ended, with exit code 124."""

# What makes an environment another one than that of somebody who has just installed the package.
FOREIGN = ("PYTHON", "HF_", "TRANSFORMERS_", "HUGGINGFACE_", "ATMAN_BENCH_", "OMP_", "VIRTUAL_ENV", "XDG_")


@dataclass(frozen=True)
class Command:
    """A line to type.

    Attributes:
        line: As printed, without the comment behind it.
        files: Name -> content of what the page shows before it and it reads.
    """

    line: str
    files: Mapping[str, str]

    @property
    def for_checkout(self) -> bool:
        """Whether it means a checkout of the repository."""
        return self.line.split()[0] in ("make", "pip")


def commands_of(page: str) -> Iterator[Command]:
    """The lines of a page's shell blocks, in their order."""
    shown: str | None = None
    for block in FENCE.finditer(page):
        if block["language"] == "json":
            shown = block["code"]
        elif block["language"] == "sh":
            for line in block["code"].replace("\\\n", " ").splitlines():
                line = re.sub(r"\s+#[^\"']*$", "", line).strip()
                data = re.search(r"--data (\S+)", line)
                yield Command(line, {data[1]: shown} if data and shown else {})


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        seconds: Wall-clock time.
        cpu_seconds: Of all its processes together; on a machine with other work it says more.
        code: Exit code.
        last: The last line that it printed on stderr, of a command that failed.
    """

    seconds: float
    cpu_seconds: float
    code: int
    last: str


def newcomers_environment(venv: Path, cache: Path) -> dict[str, str]:
    """Environment variables of a shell in which an environment was just activated; nothing is in any cache."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    # Without the environment that this runs in: a command that was not installed should be missing.
    others = [part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != Path(sys.executable).parent]
    return kept | {
        "PATH": os.pathsep.join((str(venv / "bin"), *others)),
        "XDG_CACHE_HOME": str(cache),
        "COLUMNS": "120",
    }


def run(line: str, folder: Path, environment: Mapping[str, str]) -> Ended:
    """Run a line in a shell; what it prints goes on to stderr."""
    started, cpu_before = time.perf_counter(), _cpu_seconds()
    command = ["timeout", str(LIMIT), "bash", "-c", line]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False
    )
    sys.stderr.write(done.stderr)
    said = done.stderr.strip().splitlines()
    last = said[-1] if done.returncode and said else ""
    return Ended(time.perf_counter() - started, _cpu_seconds() - cpu_before, done.returncode, last)


def _cpu_seconds() -> float:
    """Of all processes that ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def made_environment(folder: Path, constraints: Path | None) -> Path:
    """Build the wheel and install it with what it needs into a new environment, and say what that takes."""
    tree, venv, wheels = (folder / name for name in ("tree", "venv", "wheels"))
    started = time.perf_counter()
    # A copy of what git tracks: setuptools would take over what earlier builds left in build/.
    subprocess.run(["git", "-C", ROOT, "checkout-index", "--all", f"--prefix={tree}/"], check=True)
    # Isolated: what lies on PYTHONPATH would count as installed.
    pip = [sys.executable, "-I", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", tree, "--no-deps", "--wheel-dir", wheels], check=True)
    (wheel,) = wheels.glob("*.whl")
    print(f"Wheel: {wheel.stat().st_size / 1e6:.1f} MB.")
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    held = [] if constraints is None else ["--constraint", constraints]
    pip = [venv / "bin" / "python", *pip[1:]]
    subprocess.run([*pip, "install", wheel, *held], check=True)
    size = sum(file.stat().st_size for file in venv.rglob("*") if file.is_file() and not file.is_symlink())
    print(f"Installed in {time.perf_counter() - started:.0f} s: {size / 1e9:.2f} GB.\n", flush=True)
    return venv


def main() -> int:
    """Print a table of all commands with their seconds and exit codes.

    Returns:
        1 where a command failed, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--constraints", type=Path, help="versions to install; none takes the newest")
    parser.add_argument("--venv", type=Path, help="an environment with the package, in place of a new one")
    parser.add_argument("--threads", type=int, help="of each command, where other work keeps the cores busy")
    parser.add_argument("--model", default="tiny-text", help=f"what {PLACEHOLDER} stands for")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="readme-") as temporary:
        empty = Path(temporary, "empty")
        empty.mkdir()
        venv = arguments.venv or made_environment(Path(temporary), arguments.constraints)
        environment = newcomers_environment(venv.absolute(), Path(temporary, "cache"))
        if arguments.threads:
            environment["OMP_NUM_THREADS"] = str(arguments.threads)
        failed = False
        threads, load = arguments.threads or os.cpu_count(), os.getloadavg()[1]
        print(f"Threads: {threads}; cores: {os.cpu_count()}; load average when this began: {load:.0f}.\n")
        print("| command | s | CPU s | exit code |\n| :--- | ---: | ---: | ---: |", flush=True)
        for command in commands_of((ROOT / "README.md").read_text(encoding="utf-8")):
            if command.for_checkout:
                print(f"| `{command.line}` | – | – | in a checkout |")
                continue
            for name, content in command.files.items():
                (empty / name).write_text(content, encoding="utf-8")
            line = command.line.replace(PLACEHOLDER, arguments.model)
            ended = run(line, empty, environment)
            failed |= ended.code != 0
            said = f": {ended.last}" if ended.last else ""
            print(f"| `{line}` | {ended.seconds:.1f} | {ended.cpu_seconds:.1f} | {ended.code}{said} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
