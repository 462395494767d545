"""The report: one section an experiment, as a self-contained HTML page and as Markdown.

A ``Section`` is what ``atman-bench reproduce`` leaves in ``RESULTS/experiments/NAME/section.json``, with its figures
beside it; the page is made of nothing else, so it can be made anywhere.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from atman_bench.core.errors import DataError, StoreError
from atman_bench.core.files import write_atomically
from atman_bench.core.jsonl import record_of
from atman_bench.core.records import READABLE, SCHEMA
from atman_bench.core.texts import parse_json
from atman_bench.report import _html
from atman_bench.report._format import NOTHING
from atman_bench.report.figure_files import figure_file
from atman_bench.report.render import TextTable
from atman_bench.report.verdicts import Ending, Verdict, corrected, headline

FOLDER = "experiments"
"""Where sections are, in a results folder."""

_FILE = "section.json"
_TOGETHER = "sections.json"
"""What ``gather`` makes of all of them."""
_LONGEST_TABLE = 24
"""Lines; longer ones are folded on the HTML page."""

_LONGEST_NAME = 200
"""Characters of a figure's name; file systems take 255 bytes."""

_LONGEST_NUMBER = 30
"""Characters, with an interval; what is longer is text and may be wrapped."""


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

    @property
    def anchor(self) -> str:
        """What links on the page call it."""
        return f"{self.preset}-{self.name}".replace(" ", "-")


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
    text = json.dumps(asdict(section), indent=2, ensure_ascii=False, default=str) + "\n"
    write_atomically(folder_of(results, section.name) / _FILE, text)


def read(results: Path) -> list[Stored]:
    """The sections of a results folder, tables before figures.

    Raises:
        StoreError: A section is corrupted or of another schema version.
    """
    together = results / FOLDER / _TOGETHER
    listed = _load(together).get("sections") if together.exists() else []
    if not isinstance(listed, list):
        raise StoreError(f"{together} holds no list of sections: run atman-bench reproduce again")
    found = {section.name: section for section in (_parse(content, together) for content in listed)}
    for path in results.glob(f"{FOLDER}/*/{_FILE}"):
        found[path.parent.name] = _parse(_load(path), path)
    return [Stored(found[name], folder_of(results, name)) for name in in_order(found)]


def gather(results: Path) -> int:
    """Put the sections of a results folder into one file, which ``read`` reads alike; returns their number.

    Raises:
        StoreError: A section is corrupted, or the file cannot be written.
    """
    paths = list(results.glob(f"{FOLDER}/*/{_FILE}"))
    if not paths:
        return 0
    sections = [asdict(stored.section) for stored in read(results)]
    content = {"schema": SCHEMA, "sections": sections}
    write_atomically(results / FOLDER / _TOGETHER, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    for path in paths:
        path.unlink(missing_ok=True)
    return len(sections)


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
    shown = prepared(sections)
    first = _first_shown(shown)
    return _html.render(
        "page",
        title=title,
        summary=summary(shown),
        claims=claims_table(shown),
        sections=[
            (stored.section, tables, list(_embedded(stored))) for stored, tables in zip(shown, first, strict=True)
        ],
        longest_number=_LONGEST_NUMBER,
        longest_table=_LONGEST_TABLE,
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
    shown = prepared(sections)
    parts = [f"# {title}", summary(shown)]
    table = claims_table(shown)
    if table.lines:
        parts.append(table.markdown().rstrip())
    for stored, tables in zip(shown, _first_shown(shown), strict=True):
        parts += _markdown_section(stored, tables, relative_to)
    return "\n\n".join(parts) + "\n"


def prepared(sections: Sequence[Stored]) -> list[Stored]:
    """Sections with verdicts that are corrected for the number of claims on the page.

    Raises:
        DataError: There are no sections.
    """
    if not sections:
        raise DataError("there is nothing to report on: run 'atman-bench reproduce' or 'atman-bench eval' first")
    verdicts = iter(corrected([verdict for stored in sections for verdict in stored.section.verdicts]))
    return [
        replace(
            stored, section=replace(stored.section, verdicts=tuple(next(verdicts) for _ in stored.section.verdicts))
        )
        for stored in sections
    ]


def summary(sections: Sequence[Stored]) -> str:
    """Count what was run and the verdicts on the claims, in words."""
    shown = [stored.section for stored in sections]
    missing = [section.name for section in shown if section.missing]
    text = f"{len(shown) - len(missing)} of {len(shown)} experiments were run."
    if missing:
        text += f" Not run: {', '.join(missing)}."
    counted = headline(verdict for section in shown for verdict in section.verdicts)
    return f"{text} {counted}".rstrip()


def claims_table(sections: Sequence[Stored]) -> TextTable:
    """The paper's claims and the sanity checks, a line each."""
    lines = [
        (
            verdict.claim,
            verdict.source or "sanity check",
            verdict.ending.value,
            NOTHING if verdict.ranking is None else verdict.ranking.value,
            stored.section.name,
        )
        for of_claims in (True, False)
        for stored in sections
        for verdict in stored.section.verdicts
        if bool(verdict.source) is of_claims
    ]
    note = (
        "Verdicts by the paper's metric and, for mAP, by AUPRC, the area under the precision-recall curve, which asks "
        "for the order of the scores alone; p-values are corrected by Holm, claims and sanity checks apart."
    )
    columns = ("claim", "source", "paper's metric", "AUPRC", "experiment")
    return TextTable("Claims and verdicts", note, columns, tuple(lines), (False,) * len(lines))


def _first_shown(sections: Sequence[Stored]) -> list[list[tuple[TextTable, str]]]:
    """The tables of each section, and where another section has shown the same numbers before, its name."""
    seen: dict[tuple[Any, ...], str] = {}
    shown = []
    for stored in sections:
        section = stored.section
        shown.append([(table, seen.setdefault(_numbers(table), section.name)) for table in section.tables])
    return [
        [(table, "" if name == stored.section.name else name) for table, name in tables]
        for stored, tables in zip(sections, shown, strict=True)
    ]


def _numbers(table: TextTable) -> tuple[Any, ...]:
    """What a table says apart from the paper's numbers, which only some experiments have beside theirs."""
    kept = [i for i, column in enumerate(table.columns) if column != "paper"]
    lines = tuple(tuple(line[i] for i in kept) for line in table.lines)
    return table.title, tuple(table.columns[i] for i in kept), lines


def _load(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_bytes())
        schema = content.get("schema")
        if not isinstance(schema, int) or schema not in READABLE:
            raise StoreError(f"{path} has schema {schema}, expected {SCHEMA}: run atman-bench reproduce again")
    except (OSError, ValueError, AttributeError) as error:
        raise StoreError(f"{path} is no section of a report ({error}): run atman-bench reproduce again") from error
    return content


def _parse(content: dict[str, Any], path: Path) -> Section:
    try:
        section = record_of(Section, {**content, "verdicts": [_verdict(verdict) for verdict in content["verdicts"]]})
        for table in section.tables:
            widths = {len(table.columns), *map(len, table.lines)}
            if len(table.lines) != len(table.floors) or len(widths) > 1 or 0 in widths:
                raise ValueError(f"the lines of table {table.title!r} are not as long as each other")
        if wrong := [name for name in section.figures if Path(name).name != name or len(name) > _LONGEST_NAME]:
            raise ValueError(f"{wrong[0][:40]!r} is no name of a figure in its folder")
        return section
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is no section of a report ({error}): run atman-bench reproduce again") from error


def _verdict(content: dict[str, Any]) -> dict[str, Any]:
    """A verdict as a file says it; the version before stored no source and named one ending otherwise."""
    ending = Ending.OPPOSITE if content["ending"] == _FORMER_OPPOSITE else content["ending"]
    return {"source": "stored by an older version", **content, "ending": ending}


_FORMER_OPPOSITE = "does not reproduce: the opposite holds here"


def _embedded(stored: Stored) -> Iterator[tuple[str, str]]:
    """Each figure as part of the page, and its caption."""
    for name, caption in stored.section.figures.items():
        path = figure_file(stored.folder / name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StoreError(f"the figure {path} cannot be read: run atman-bench reproduce again") from error
        yield _html.data_uri(content, "svg+xml" if path.suffix == ".svg" else "png"), caption


def _markdown_section(stored: Stored, tables: Sequence[tuple[TextTable, str]], relative_to: Path) -> Iterator[str]:
    section = stored.section
    yield f"## {section.name}: {section.title}"
    yield f"{section.paper}. Preset {section.preset}."
    if section.missing:
        yield f"Not run: {section.missing}"
    if section.verdicts:
        yield "\n".join(f"- {verdict.mark} **{verdict.head}** {verdict.details}" for verdict in section.verdicts)
    yield from section.notes
    for table, shown_in in tables:
        yield f"**{table.title}**: as in {shown_in}." if shown_in else table.markdown().rstrip()
    for name, caption in section.figures.items():
        # Path.relative_to walks up from Python 3.12 on.
        path = Path(os.path.relpath(figure_file(stored.folder / name), relative_to))
        yield f"![{caption}]({path.as_posix()})"
    yield f"{'Would be made' if section.missing else 'Made'} by `{section.command}`"
