"""What a result may depend on beyond its identity: the command, the code, the machine."""

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("atman-bench", "torch", "transformers", "captum", "numpy")

_ABSOLUTE = re.compile(r"(?<![\w.~/-])/(?:[^/\s,][^/,]*/)*([^/\s,][^/,]*)/?")


def _without_folders(argument: str) -> str:
    """An argument with absolute paths cut to their last part: results get published, somebody's folders need not be."""
    return _ABSOLUTE.sub(r"\1", argument)


def environment(*, device: str, threads: int) -> dict[str, Any]:
    """What manifests record of a run; absolute paths of its command without their folders.

    Args:
        device: The device that the model is on.
        threads: Threads that the tensor library uses.
    """
    return {
        "command": [Path(sys.argv[0]).name, *map(_without_folders, sys.argv[1:])],
        "git_revision": _git_revision(Path(__file__).parents[2]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": package_versions(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "device": device,
    }


def package_versions() -> dict[str, str | None]:
    """The installed versions of the packages that numbers depend on, None for one that is not installed."""
    return {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_revision(root: Path) -> str | None:
    """The commit of the checkout that the package runs from; None for an installed copy."""
    # An installed copy may lie inside an unrelated repository (.venv), which must not be mistaken for ours.
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
