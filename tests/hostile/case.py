"""A case of hostile input: a command, what is put where it reads, and what it has to say."""

from dataclasses import dataclass, field
from pathlib import Path

from worlds import DOCUMENTS, FILES, data_option

EVAL = "eval --methods uniform --no-baselines --limit 1 -q"


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        name: What is wrong.
        command: Arguments, split at blanks; ``{}`` takes the next of ``values``.
        said: Part of the one line on stderr; for a command that succeeds, of what it prints ("" for anything).
        files: File -> what is put there before: its content, or a path to link to.
        values: Arguments with blanks or odd characters.
        code: How it ends.
        never: What must not be printed.
    """

    name: str
    command: str
    said: str
    files: dict[str, bytes | str | tuple[str]] = field(default_factory=dict)
    values: tuple[str, ...] = ()
    code: int = 2
    never: str = "\x1b"

    @property
    def arguments(self) -> list[str]:
        values = iter(self.values)
        return [next(values) if part == "{}" else part for part in self.command.split()]


def loader(file: str) -> str:
    dataset = DOCUMENTS[file][0] if file in DOCUMENTS else "openimages"
    return reader(dataset)


def reader(dataset: str) -> str:
    model = "" if dataset in FILES else "-m tiny-magma "
    return f"{EVAL} {model}-d {dataset} --data {data_option(dataset, Path('data'))}"
