"""The command ``atman-bench``. Every other module here without a leading underscore is a command, with ``register``.

Nothing that is imported for ``--help`` may import torch, numpy or pandas: commands import those inside their functions.
"""

import logging
import sys
import traceback
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from atman_bench.cli import _options
from atman_bench.cli._console import echo
from atman_bench.core.errors import AtmanBenchError, ConfigError, one_line
from atman_bench.core.texts import check_value

app = typer.Typer(
    name="atman-bench",
    help="Benchmarks of explanation methods for generative transformers: the AtMan paper's evaluations, on any model.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_options.examples(
        "atman-bench explain",
        'atman-bench explain -m HuggingFaceTB/SmolLM2-135M-Instruct --chat -p "Bern is in Switzerland. Where is Bern?"',
        "atman-bench eval --limit 40",
        "atman-bench list",
        "atman-bench COMMAND --help",
    ),
)


def _version(asked: bool) -> None:
    """Print the version and end."""
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            echo(f"atman-bench {version('atman-bench')}")
        except PackageNotFoundError:
            echo("atman-bench (run from its source folder)")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Benchmarks of explanation methods for generative transformers: the AtMan paper's evaluations, on any model."""


for _name in sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")):
    if _name != "app":
        import_module(f"atman_bench.cli.{_name}").register(app)


class _Command(TyperCommand):
    """A command that refuses empty values, and what is no text: a variable that is not set is not the default."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check what was written, before it is converted: an empty path becomes the current folder.

        Raises:
            ConfigError: A value is empty, or no text in UTF-8.
        """
        if any("--ray" in parameter.opts for parameter in self.params):
            args = _options.with_ray_address(args)
        written, _, _ = self.make_parser(ctx).parse_args(list(args))
        for parameter in self.params:
            values = written.get(parameter.name)
            for value in values if isinstance(values, Iterable) and not isinstance(values, str) else [values]:
                if value == "":
                    raise ConfigError(f"{parameter.opts[0]} is empty: give it a value, or leave it out")
                try:
                    check_value(value)
                except ValueError as error:
                    raise ConfigError(f"{parameter.opts[0]}: {error}; give text in UTF-8") from None
        return super().parse_args(ctx, args)


class _Group(TyperGroup):
    """A group of commands that shows its help where none of them is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Ask for help where nothing was written."""
        return super().parse_args(ctx, args or ["--help"])


for _group in (app, *(group.typer_instance for group in app.registered_groups if group.typer_instance)):
    _group.info.cls = _Group
    for _command in _group.registered_commands:
        _command.cls = _Command
        if _command.callback is not None:
            _command.callback = _options.common(_command.callback)


def main() -> None:
    """Run a command. An error that bad input can cause ends as one line on stderr, exit code 2; Ctrl-C is code 130."""
    try:
        ended = app(standalone_mode=False)
    except (AtmanBenchError, TyperException) as error:
        if logging.getLogger("atman_bench").isEnabledFor(logging.DEBUG):
            traceback.print_exc()
        said = error.format_message() if isinstance(error, TyperException) else str(error)
        echo(f"error: {' '.join(said.split())}", err=True)
        sys.exit(2)
    except OSError as error:  # a path that no system call takes: too long a name, a link to itself, no permission
        echo(f"error: {error.filename or 'a file'}: {error.strerror or one_line(error)}", err=True)
        sys.exit(2)
    sys.exit(ended)


if __name__ == "__main__":
    main()
