"""Hooks of mkdocs (``mkdocs.yml``): pages that are made at build time, links that leave ``docs/``, and a check.

A page that would load anything from another host is a warning, which ends ``mkdocs build --strict``.
"""

import logging
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import docs_notebook
import docs_reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LOG = logging.getLogger("mkdocs.hooks.docs_site")

RAW = "https://raw.githubusercontent.com/atman-bench/atman-bench/main"
"""Where the README's pictures are for those who read it elsewhere."""

WIDE = ("index.md", "compare.md", "paper.md", "results/")
"""Pages whose tables need the room of the menus beside them."""

_LINK = re.compile(r"(?<=\]\()(?P<target>[^)#\s]+)")
_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_STYLE_URL = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made: the reference, the notebooks, the stored results with their figures."""
    made = docs_reference.pages() | {"index.md": _start()}
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        made[f"notebooks/{notebook.stem}.md"] = docs_notebook.as_markdown(notebook)
    for source, text in made.items():
        files.append(File.generated(config, source, content=text))
    for path in sorted((ROOT / "results").rglob("*")):
        if path.suffix in (".md", ".png"):
            source = path.relative_to(ROOT).as_posix()
            # Tables are linked from what was run; a menu of all of them would help nobody.
            files.append(File.generated(config, source, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def _start() -> str:
    """The first page: the README, whose links are whole addresses since the package index shows it too."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for home in (docs_reference.REPOSITORY, RAW):
        text = text.replace(f"{home}/docs/", "").replace(f"{home}/", "../")
    return text


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make what GitHub shows of a page readable for Python-Markdown too."""
    if page.file.src_uri.startswith(WIDE):
        page.meta["hide"] = ["navigation", "toc"]
    parts = _FENCED.split(markdown)
    # Parts of odd index are fenced code.
    parts[::2] = (_links(_blocks(part), page.file.src_uri) for part in parts[::2])
    return "".join(parts)


def _blocks(text: str) -> str:
    """Begin lists and tables with an empty line, as Python-Markdown wants them."""
    lines: list[str] = []
    for line in text.split("\n"):
        before = lines[-1] if lines else ""
        for starts in (r"(?:[-*]|\d+\.) ", r"\|"):
            inside = re.match(rf"{starts}| ", before)
            if re.match(starts, line) and before.strip() and not inside:
                lines.append("")
        if before.startswith("<!--") and line.strip():
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def _links(text: str, source: str) -> str:
    """Results are part of the site; any other file outside ``docs/`` is on the repository's page."""
    home = ROOT if source.startswith("results/") else ROOT / "docs"
    folder = (home / source).parent

    def resolved(match: re.Match[str]) -> str:
        target = match["target"]
        path = (folder / target).resolve()
        if "://" in target or not path.is_relative_to(ROOT) or not path.exists():
            return target
        inside = path.relative_to(ROOT)
        if inside.parts[0] == "docs":
            return os.path.relpath(path, ROOT / "docs" / Path(source).parent)
        if inside.parts[0] == "results" and path.suffix in (".md", ".png"):
            return os.path.relpath(inside, Path(source).parent)
        return f"{docs_reference.REPOSITORY}/{inside.as_posix()}"

    return _LINK.sub(resolved, text)


class _Loaded(HTMLParser):
    """What a page loads by itself: scripts, styles, images, frames; not what its links lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element loads."""
        given = dict(attrs)
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.sources.append(given.get("href") or "")
        elif tag != "a":
            self.sources += (given.get(name) or "" for name in ("src", "srcset", "poster", "data"))


def loaded_from_elsewhere(html: str) -> list[str]:
    """What a page loads from other hosts."""
    parser = _Loaded()
    parser.feed(html)
    return [source for source in parser.sources if re.match(r"(?:https?:)?//", source)]


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads something from elsewhere."""
    for source in loaded_from_elsewhere(output):
        LOG.warning("%s loads %s: pages have to do without a network", page.file.src_uri, source)
    return output


def on_post_build(config: MkDocsConfig, **_: Any) -> None:
    """Refuse styles that load something from elsewhere."""
    for path in Path(config.site_dir).rglob("*.css"):
        if _STYLE_URL.search(path.read_text(encoding="utf-8")):
            LOG.warning("%s loads something from elsewhere: pages have to do without a network", path)
