"""Options that several commands share, each written once. None means not given: the configuration decides."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str | None, typer.Option("--model", "-m", help="NAME or NAME:ARGUMENT, such as tiny-text or hf:FOLDER.")
]
Device = Annotated[str | None, typer.Option("--device", help="A torch device; CUDA where there is one.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, float16 or bfloat16.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of the choice of samples and of stochastic methods.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any option, such as methods.atman.kappa=0.5; may be repeated."),
]
Results = Annotated[Path | None, typer.Option("--results", "-r", help="The results folder; a run there is resumed.")]
TrustCheckpoint = Annotated[
    bool | None, typer.Option("--trust-checkpoint", help="Read pickled weights, which can run code.")
]
TrustRemoteCode = Annotated[
    bool | None, typer.Option("--trust-remote-code", help="Run code that comes with a checkpoint.")
]
