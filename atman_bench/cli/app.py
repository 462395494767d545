"""The command ``atman-bench``. Every other module here without a leading underscore is a command, with ``register``.

Nothing that is imported for ``--help`` may import torch, numpy or pandas: commands import those inside their functions.
"""

import sys
from importlib import import_module
from pathlib import Path

import typer

from atman_bench.core.errors import AtmanBenchError

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


def main() -> None:
    """Run a command. An error that bad input can cause ends as one line on stderr, exit code 2; Ctrl-C is code 130."""
    try:
        app()
    except AtmanBenchError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
