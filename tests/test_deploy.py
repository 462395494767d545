"""Files of deploy/ and commands of docs/scale-out.md, as far as they can be checked without a cluster."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from atman_bench.cli._options import with_ray_address
from atman_bench.cli.app import app

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs" / "scale-out.md"


def commands(text: str) -> list[list[str]]:
    """Command lines of atman-bench in a text, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [
        shlex.split(line.partition("atman-bench ")[2].removesuffix("&"), comments=True)
        for line in joined.splitlines()
        if re.match(r"\s*(\w+=\S+ )*atman-bench ", line)
    ]


def job() -> dict:
    return yaml.safe_load((DEPLOY / "kuberay.yaml").read_text())


def test_the_commands_of_files_and_page_are_commands_of_this_version():
    texts = [path.read_text() for path in (*DEPLOY.glob("*.sh"), PAGE)]
    found = [line for text in texts for line in commands(text)] + commands(job()["spec"]["entrypoint"])
    group = typer.main.get_command(app)
    assert len(found) > 8
    for name, *arguments in found:
        command = group.commands[name]
        known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        flags = {argument for argument in with_ray_address(arguments) if re.match(r"--?[a-z]", argument)}
        assert flags <= known, (name, flags - known)


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_scripts(path):
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_the_job_has_the_version_of_ray_that_the_constraints_name_and_mounts_what_it_reads():
    spec = job()["spec"]
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == pinned[1]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]} == volumes
    (arguments,) = commands(spec["entrypoint"])
    assert int(arguments[arguments.index("--workers") + 1]) == cluster["workerGroupSpecs"][0]["replicas"]


def test_the_image_copies_files_that_exist():
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert copied
    assert all((ROOT / name).exists() for line in copied for name in line.split())
