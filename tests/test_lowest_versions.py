"""The versions that ``make lowest`` tests are those that pyproject.toml promises."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def versions(file: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / file).read_text().lower(), re.MULTILINE))


def test_the_lowest_versions_are_those_that_pyproject_promises():
    lowest = versions("constraints-lowest.txt")
    extras = [name for name in PROJECT["optional-dependencies"] if name not in ("dev", "docs")]
    promised = [*PROJECT["dependencies"], *(line for name in extras for line in PROJECT["optional-dependencies"][name])]
    bounds = dict(requirement.partition(",")[0].split(">=") for requirement in promised)
    del bounds["torch"]  # older releases for CPUs alone are not in the package index
    for name, bound in bounds.items():
        # A bound without its last parts promises the first release that it allows.
        assert f"{lowest[name]}.".startswith(f"{bound}."), name


def test_torch_and_what_runs_the_tests_are_those_of_the_other_tests():
    lowest, tested = versions("constraints-lowest.txt"), versions("constraints.txt")
    assert {name: lowest[name] for name in ("torch", "pytest", "hypothesis")}.items() <= tested.items()
