"""The report: one section an experiment, as a self-contained HTML page and as Markdown.

A ``Section`` is what ``atman-bench reproduce`` leaves in ``RESULTS/experiments/NAME/section.json``, with its figures
beside it; the page is made of nothing else, so it can be made anywhere.
"""

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from atman_bench.core.errors import DataError, StoreError
from atman_bench.core.records import SCHEMA
from atman_bench.report.figure_files import figure_file
from atman_bench.report.render import TextTable

FOLDER = "experiments"
"""Where sections are, in a results folder."""

_FILE = "section.json"
_LONGEST_NUMBER = 30
"""Characters, with an interval; what is longer is text and may be wrapped."""


class Ending(StrEnum):
    """What became of a claim of the paper, as the page says it."""

    HOLDS = "holds here"
    OPPOSITE = "does not reproduce: the opposite holds here"
    OPEN = "undecided here"
    MIXED = "holds here in some cases only"
    UNTESTED = "not tested here"


@dataclass(frozen=True)
class Verdict:
    """A claim and what became of it.

    Attributes:
        claim: In words.
        ending: What became of it.
        because: The numbers that say so.
    """

    claim: str
    ending: Ending
    because: str


@dataclass(frozen=True)
class Section:
    """What the page shows of one experiment.

    Attributes:
        name: As users write it.
        title: What it shows.
        paper: Where it is in the paper, and of what.
        preset: How much of it was run.
        command: What makes it again.
        missing: Why it could not be run; empty if it was.
        tables: Its numbers, ours beside the paper's.
        figures: File name in the section's folder, without a suffix -> what it shows.
        verdicts: The paper's claims.
        notes: What else should be said: the paper's other numbers, skipped samples, failures.
        manifest: What was run, and on what.
    """

    name: str
    title: str
    paper: str
    preset: str
    command: str
    missing: str = ""
    tables: tuple[TextTable, ...] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA


@dataclass(frozen=True)
class Stored:
    """A section with the folder that its figures are in."""

    section: Section
    folder: Path


def folder_of(results: Path, name: str) -> Path:
    """Where the section of an experiment is."""
    return results / FOLDER / name


def write(results: Path, section: Section) -> None:
    """Store a section; its figures are there already.

    Raises:
        StoreError: It cannot be written.
    """
    path = folder_of(results, section.name) / _FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(section), indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}; choose a writable results folder") from error


def read(results: Path) -> list[Stored]:
    """The sections of a results folder, tables before figures.

    Raises:
        StoreError: A section is corrupted or of another schema version.
    """
    found = {path.parent.name: path for path in results.glob(f"{FOLDER}/*/{_FILE}")}
    return [Stored(_parse(found[name]), found[name].parent) for name in in_order(found)]


def in_order(names: Iterable[str]) -> list[str]:
    """Tables, numbers of the text, and then figures; Fig. 2 before Fig. 10."""

    def place(name: str) -> tuple[int, list[int], str]:
        kind = 0 if name.startswith("table") else 2 if name.startswith("fig") else 1
        return kind, [int(number) for number in re.findall(r"\d+", name)], name

    return sorted(names, key=place)


def html_page(sections: Sequence[Stored], title: str = "The AtMan paper, reproduced") -> str:
    """One self-contained page: figures are part of it, and it loads nothing.

    Raises:
        DataError: There are no sections.
        StoreError: A figure is missing.
    """
    _check(sections)
    body = "\n".join(_html_section(stored) for stored in sections)
    links = "\n".join(_html_link(stored.section) for stored in sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{_text(title)}</title>\n'
        f"<style>{_CSS}</style>\n</head>\n<body>\n<h1>{_text(title)}</h1>\n<p>{_text(_summary(sections))}</p>\n"
        f"<nav><ul>\n{links}\n</ul></nav>\n{body}\n</body>\n</html>\n"
    )


def markdown_page(sections: Sequence[Stored], relative_to: Path, title: str = "The AtMan paper, reproduced") -> str:
    """The same as Markdown, with links to the figures.

    Args:
        sections: What is shown.
        relative_to: Folder of the Markdown file.
        title: Of the page.

    Raises:
        DataError: There are no sections.
        StoreError: A figure is missing.
    """
    _check(sections)
    parts = [f"# {title}", _summary(sections)]
    for stored in sections:
        parts += _markdown_section(stored, relative_to)
    return "\n\n".join(parts) + "\n"


def _check(sections: Sequence[Stored]) -> None:
    if not sections:
        raise DataError("there is nothing to report on: run 'atman-bench reproduce' or 'atman-bench eval' first")


def _parse(path: Path) -> Section:
    try:
        content = json.loads(path.read_bytes())
        if (schema := content.get("schema")) != SCHEMA:
            raise StoreError(f"{path} has schema {schema}, expected {SCHEMA}: run atman-bench reproduce again")
        tables = tuple(
            TextTable(t["title"], t["note"], *(_tuples(t[key]) for key in ("columns", "lines", "floors")))
            for t in content.pop("tables")
        )
        verdicts = tuple(Verdict(v["claim"], Ending(v["ending"]), v["because"]) for v in content.pop("verdicts"))
        return Section(**{**content, "notes": tuple(content["notes"])}, tables=tables, verdicts=verdicts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is no section of a report ({error}): run atman-bench reproduce again") from error


def _tuples(value: list[Any]) -> tuple[Any, ...]:
    return tuple(_tuples(item) if isinstance(item, list) else item for item in value)


def _summary(sections: Iterable[Stored]) -> str:
    """Count what was run and what became of the claims, in a sentence."""
    shown = [stored.section for stored in sections]
    endings = [verdict.ending for section in shown for verdict in section.verdicts]
    counts = "; ".join(f"{ending}: {endings.count(ending)}" for ending in Ending if ending in endings)
    missing = [section.name for section in shown if section.missing]
    text = f"{len(shown) - len(missing)} of {len(shown)} experiments were run."
    if endings:
        text += f" What became of {len(endings)} claims: {counts}."
    if missing:
        text += f" Not run: {', '.join(missing)}."
    return text


def _html_link(section: Section) -> str:
    """A line of the list of contents, with a sign for each claim and its words for those who point at it."""
    marks = [(v.ending.name.lower(), v.claim, _MARKS[v.ending]) for v in section.verdicts]
    if section.missing:
        marks = [("missing", section.missing, "not run")]
    signs = "".join(f' <span class="mark {kind}" title="{_text(words)}">{sign}</span>' for kind, words, sign in marks)
    return f'<li><a href="#{_id(section)}">{_text(section.name)}</a> {_text(section.title)}{signs}</li>'


def _html_section(stored: Stored) -> str:
    section = stored.section
    parts = [
        f'<section id="{_id(section)}">',
        f"<h2>{_text(section.name)}: {_text(section.title)}</h2>",
        f"<p>{_text(section.paper)}. Preset {_text(section.preset)}.</p>",
    ]
    if section.missing:
        parts.append(f'<p class="missing">Not run: {_text(section.missing)}</p>')
    if section.verdicts:
        parts += ["<ul class='claims'>", *map(_html_verdict, section.verdicts), "</ul>"]
    parts += [f"<p>{_text(note)}</p>" for note in section.notes]
    parts += [_html_table(table) for table in section.tables]
    parts += [
        f'<figure><img src="{_data_uri(stored.folder / name)}" alt="{_text(caption)}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
        for name, caption in section.figures.items()
    ]
    parts.append(f"<p>Made by <code>{_text(section.command)}</code></p>")
    if section.manifest:
        manifest = json.dumps(section.manifest, indent=2, ensure_ascii=False)
        parts.append(f"<details><summary>What was run, and on what</summary><pre>{_text(manifest)}</pre></details>")
    return "\n".join([*parts, "</section>"])


def _html_verdict(verdict: Verdict) -> str:
    return (
        f'<li class="{verdict.ending.name.lower()}"><b>{_MARKS[verdict.ending]} {_text(verdict.claim)}: '
        f"{_text(verdict.ending)}.</b> {_text(verdict.because)}</li>"
    )


def _html_table(table: TextTable) -> str:
    header = "".join(f'<th scope="col">{_text(column)}</th>' for column in table.columns)
    lines = []
    for line, floor in zip(table.lines, table.floors, strict=True):
        cells = "".join(
            f"<td{' class=text' if len(cell) > _LONGEST_NUMBER else ''}>{_text(cell)}</td>" for cell in line[1:]
        )
        lines.append(f'<tr{" class=floor" if floor else ""}><th scope="row">{_text(line[0])}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table><caption>{_text(table.title)}</caption><thead><tr>{header}</tr></thead><tbody>'
        f"{''.join(lines)}</tbody></table></div><p class='note'>{_text(table.note)}</p>"
    )


def _markdown_section(stored: Stored, relative_to: Path) -> Iterator[str]:
    section = stored.section
    yield f"## {section.name}: {section.title}"
    yield f"{section.paper}. Preset {section.preset}."
    if section.missing:
        yield f"Not run: {section.missing}"
    if section.verdicts:
        yield "\n".join(
            f"- {_MARKS[verdict.ending]} **{verdict.claim}: {verdict.ending}.** {verdict.because}"
            for verdict in section.verdicts
        )
    yield from section.notes
    for table in section.tables:
        yield table.markdown().rstrip()
    for name, caption in section.figures.items():
        # Path.relative_to walks up from Python 3.12 on.
        path = Path(os.path.relpath(figure_file(stored.folder / name), relative_to))
        yield f"![{caption}]({path.as_posix()})"
    yield f"Made by `{section.command}`"


def _data_uri(stem: Path) -> str:
    """A figure as part of the page."""
    path = figure_file(stem)
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise StoreError(f"the figure {path} cannot be read: run atman-bench reproduce again") from error
    return f"data:image/{'svg+xml' if path.suffix == '.svg' else 'png'};base64,{content}"


def _id(section: Section) -> str:
    return html.escape(f"{section.preset}-{section.name}".replace(" ", "-"), quote=True)


def _text(text: str) -> str:
    return html.escape(text, quote=True)


_MARKS = {Ending.HOLDS: "✓", Ending.OPPOSITE: "✗", Ending.OPEN: "?", Ending.MIXED: "≈", Ending.UNTESTED: "–"}
"""Signs, not colours alone: the page is readable in black and white."""

_CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 3rem; border-top: 1px solid #bbb; padding-top: 1rem; }
nav ul { list-style: none; padding: 0; columns: 24rem; font-size: .9rem; } nav li { break-inside: avoid; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .4rem 0; }
th, td { padding: .2rem .6rem; text-align: right; white-space: nowrap; } th:first-child { text-align: left; }
td.text { text-align: left; white-space: normal; min-width: 16rem; }
thead th { border-bottom: 1px solid #444; } tbody th { font-weight: 400; }
tr.floor { color: #595959; font-style: italic; } .note, figcaption { color: #595959; font-size: .85rem; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; }
.claims { padding-left: 1.2rem; } p.missing { border-left: 4px solid #8a5a00; padding-left: .6rem; }
.mark { font-size: .8rem; } .holds b, .mark.holds { color: #1b5e20; } .opposite b, .mark.opposite { color: #a31515; }
.open b, .mark.open, .mixed b, .mark.mixed { color: #7a4b00; }
pre { overflow-x: auto; background: #f4f4f4; padding: .6rem; font-size: .8rem; } code { background: #f4f4f4; }
@media print { nav { display: none; } section { break-inside: avoid-page; } }
"""
