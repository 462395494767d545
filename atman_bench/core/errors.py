"""Errors that users meet. Each message says what was wrong, what was expected, what was received and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class AtmanBenchError(Exception):
    """Base of every error that bad input can cause; the CLI prints it in one line and exits with code 2."""


class UnknownNameError(AtmanBenchError):
    """A method, dataset, model, metric or option that does not exist."""

    def __init__(self, kind: str, name: str, valid: Iterable[str], beside: str = ""):
        """Say which names there are, and which of them are near.

        Args:
            kind: What is called so ("method").
            name: What was given.
            valid: All names.
            beside: What could be given instead of a name, in words.
        """
        names = sorted(valid)
        near = get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}: {hint}valid: {', '.join(names) or 'none'}{beside}")


class ConfigError(AtmanBenchError):
    """An option has the wrong type or an impossible value."""


class NotApplicableError(ConfigError):
    """A method, or an option of it, is not defined for this model: so for every sample, not for one."""


class DataError(AtmanBenchError):
    """A data file is missing, malformed or of the wrong format."""


class SampleError(AtmanBenchError):
    """One sample cannot be used (too long, span not aligned, empty target); it is counted and the run goes on."""


class ModelError(AtmanBenchError):
    """A model cannot be loaded, or AtMan's attention edits cannot be installed in it."""


class StoreError(AtmanBenchError):
    """A results folder cannot be read or written."""


class WorkerError(AtmanBenchError):
    """Workers of a run cannot be started, or none is left; what was finished is stored."""


def one_line(error: BaseException) -> str:
    """An error's whole message without its line breaks, or the name of its class where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line_of(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
