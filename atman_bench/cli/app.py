"""The command ``atman-bench``. Every other module here without a leading underscore is a command, with ``register``.

Nothing that is imported for ``--help`` may import torch, numpy or pandas: commands import those inside their functions.
"""

import logging
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from atman_bench.cli import _options
from atman_bench.core.errors import AtmanBenchError, ConfigError

app = typer.Typer(
    name="atman-bench",
    help="Benchmarks of explanation methods for generative transformers: the AtMan paper's evaluations, on any model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for _name in sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")):
    if _name != "app":
        import_module(f"atman_bench.cli.{_name}").register(app)


class _Command(TyperCommand):
    """A command that refuses empty values: a script's variable that is not set must not mean the default."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check what was written, before it is converted: an empty path becomes the current folder.

        Raises:
            ConfigError: A value is empty.
        """
        written, _, _ = self.make_parser(ctx).parse_args(list(args))
        for parameter in self.params:
            values = written.get(parameter.name)
            if "" in (values if isinstance(values, list) else [values]):
                raise ConfigError(f"{parameter.opts[0]} is empty: give it a value, or leave it out")
        return super().parse_args(ctx, args)


for _group in (app, *(group.typer_instance for group in app.registered_groups if group.typer_instance)):
    for _command in _group.registered_commands:
        _command.cls = _Command
        if _command.callback is not None:
            _command.callback = _options.debuggable(_command.callback)


def main() -> None:
    """Run a command. An error that bad input can cause ends as one line on stderr, exit code 2; Ctrl-C is code 130."""
    try:
        app()
    except AtmanBenchError as error:
        if logging.getLogger("atman_bench").isEnabledFor(logging.DEBUG):
            traceback.print_exc()
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
