"""The pages are true: their commands exist, what can be run runs, and what is made from the code names all of it."""

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import docs_notebook
import docs_reference
import pytest
import typer

from atman_bench.cli._options import with_ray_address
from atman_bench.cli.app import app, main
from atman_bench.core import plugins
from atman_bench.methods import METHODS
from atman_bench.metrics import METRICS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# Pages that somebody follows step by step: each block says whether it runs, needs something, or is a file.
GUIDES = sorted([*(DOCS / "tutorials").glob("*.md"), *(DOCS / "how-to").glob("*.md")])
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[\w-]+)(?:: (?P<detail>[^>]*?))? -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S
)


class Block(NamedTuple):
    mark: str | None
    detail: str | None
    language: str
    code: str


def blocks_of(page: Path) -> list[Block]:
    return [Block(**found.groupdict()) for found in FENCE.finditer(page.read_text(encoding="utf-8"))]


def commands_of(code: str, program: str = "atman-bench") -> list[list[str]]:
    """The arguments of each call of a program in shell code; variables before it, and what is piped on, left out."""
    found = []
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]
        if words[:1] == [program]:
            ends = [words.index(mark) for mark in ("|", ">", "&&", ";") if mark in words]
            found.append(words[1 : min(ends, default=None)])
    return found


ALL_COMMANDS = sorted(
    {
        (page.relative_to(ROOT).as_posix(), shlex.join(words))
        for page in PAGES
        for b in blocks_of(page)
        if b.language == "sh"
        for words in commands_of(b.code)
    }
)


@pytest.mark.parametrize(("page", "command"), ALL_COMMANDS)
def test_a_printed_command_has_the_options_that_it_uses(page, command):
    parser, words = typer.main.get_command(app), shlex.split(command)
    while hasattr(parser, "commands") and words and not words[0].startswith("-"):
        parser, words = parser.commands[words[0]], words[1:]
    context = parser.context_class(parser)
    _, rest, _ = parser.make_parser(context).parse_args(with_ray_address(words))
    assert not rest, f"{page}: {rest} is left over"


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_every_block_of_a_guide_says_whether_it_runs(page):
    unmarked = [b.code for b in blocks_of(page) if b.language in ("sh", "python", "json") and b.mark is None]
    assert not unmarked


def run(block: Block, names: dict[str, object]) -> None:
    """Do what a reader would do with a block, in the current folder."""
    if block.mark == "file":
        Path(block.detail or "").write_text(block.code, encoding="utf-8")
    elif block.mark == "runs" and block.language == "python":
        exec(compile(block.code, "page", "exec"), names)
    elif block.mark == "runs":
        for words in commands_of(block.code):
            try:
                sys.argv = ["atman-bench", *words]
                main()
            except SystemExit as ended:
                assert not ended.code, f"{shlex.join(words)} ended with {ended.code}"
        for words in commands_of(block.code, "pytest"):
            subprocess.run([sys.executable, "-m", "pytest", *words], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder; what a page includes is forgotten behind it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    yield tmp_path
    plugins.forget()


@pytest.mark.parametrize(
    "page", [p for p in GUIDES if any(b.mark == "runs" for b in blocks_of(p))], ids=lambda p: p.stem
)
def test_what_a_guide_says_can_be_run_runs(page, folder):
    shutil.copy(DOCS / "images" / "scene.png", folder)
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for block in blocks_of(page):
            run(block, names)


def test_the_reference_has_every_method_metric_and_command():
    pages = docs_reference.pages()
    assert {f"## {name}" for name in METHODS.names} <= set(pages["reference/methods.md"].splitlines())
    assert {f"## {name}" for name in METRICS.names} <= set(pages["reference/metrics.md"].splitlines())
    commands = typer.main.get_command(app).commands
    assert {f"## `atman-bench {name}`" for name in commands} <= set(pages["reference/cli.md"].splitlines())


def test_notebooks_run_and_print_what_they_say_they_print():
    pytest.importorskip("nbclient")
    (path,) = (DOCS / "notebooks").glob("*.ipynb")
    stored, anew = docs_notebook.as_markdown(path), docs_notebook.execute(path)
    printed = [
        output.text
        for cell in anew.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream"
    ]
    assert printed
    for text in printed:
        assert text.strip() in stored


def test_a_page_that_loads_something_from_elsewhere_is_found():
    pytest.importorskip("mkdocs")
    import docs_site

    page = '<a href="https://a.org">a</a><link rel="stylesheet" href="own.css"><img src="//b.org/b.png"><script src="https://c.org/c.js">'
    assert docs_site.loaded_from_elsewhere(page) == ["//b.org/b.png", "https://c.org/c.js"]


def test_links_that_leave_the_pages_lead_to_results_or_to_the_repository():
    pytest.importorskip("mkdocs")
    import docs_site

    assert docs_site._links("[a](../../results/README.md#x)", "tutorials/a.md") == "[a](../results/README.md#x)"
    assert docs_site._links("[a](../../LICENSE)", "tutorials/a.md") == f"[a]({docs_reference.REPOSITORY}/LICENSE)"
    assert docs_site._links("[a](../../docs/paper.md)", "results/scale/table.md") == "[a](../../paper.md)"
