"""``atman-bench plan``: what each method needs on a model, before anything is loaded."""

from typing import TYPE_CHECKING, Annotated

import typer

from atman_bench.cli import _options
from atman_bench.cli._console import console, echo

if TYPE_CHECKING:
    from rich.table import Table

    from atman_bench.profiling.devices import Device
    from atman_bench.profiling.rows import ScaleRow

METHODS = (
    "plain:lean,plain:default,atman,chefer,chefer:full,input_x_gradient,input_x_gradient:checkpointed,"
    "integrated_gradients,rollout"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "plan",
        epilog=_options.examples(
            "atman-bench plan random:13B --tokens 1024",
            "atman-bench plan HuggingFaceTB/SmolLM2-135M --methods atman,attnlrp --device RTX4090",
        ),
    )(plan)


def plan(
    model: Annotated[
        str,
        typer.Argument(
            callback=_options.known_model,
            help="A folder or hub id (only its configuration is read), pulled:NAME or random:SIZE.",
        ),
    ],
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Length of the input.")] = 512,
    methods: Annotated[
        str, typer.Option("--methods", help="METHOD or METHOD:VARIANT by commas; plain:... are forward passes.")
    ] = METHODS,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Perturbations per forward pass; default: what memory allows.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="A100-80GB, H100-80GB, H200, RTX4090, cpu-24GB, or a YAML file.")
    ] = "A100-80GB",
    dtype: _options.Dtype = "bfloat16",
    dataset_size: Annotated[
        int | None, typer.Option("--dataset-size", min=1, help="Also say what so many inputs of this length take.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Workers that share them.")] = 1,
) -> None:
    """Predict each method's peak memory and time on a device, without weights and without the device.

    Memory is that of the code that would run, on tensors without data; time is a roofline of its operations, that is
    what they take at the least. With --dataset-size also the hours of a whole run and of all its devices.
    """
    from rich.text import Text

    from atman_bench.profiling.devices import find_device
    from atman_bench.profiling.grid import load_scale_config
    from atman_bench.profiling.predict import predict, simulated_cell

    flags = {
        "models": [model],
        "methods": _options.names("--methods", methods),
        "tokens": [tokens],
        "batches": [batch],
        "dtype": dtype,
    }
    chosen, cells = find_device(device), load_scale_config(None, flags).cells
    screen = console()
    with screen.status(Text(f"simulating {model}")):
        rows = list(predict([simulated_cell(cell, chosen) for cell in cells], chosen))
    screen.print(_table(rows, chosen))
    if dataset_size is not None:
        screen.print(_run_table(rows, chosen, dataset_size, workers))
    for row in rows:
        if not row.peak_bytes:
            echo(f"{row.method}:{row.variant}: {row.error}", err=True)


def _table(rows: "list[ScaleRow]", device: "Device") -> "Table":
    from rich import box
    from rich.table import Table

    first = rows[0]
    weights, memory = (f"{size / 1e9:,.1f} GB" for size in (first.model_bytes or 0, device.memory))
    title = f"{first.model}, {first.tokens} tokens, {first.dtype}, simulated on {device.name}"
    caption = f"{(first.parameters or 0) / 1e9:.2f} billion parameters take {weights} of {memory}; GB = 10^9 bytes"
    table = Table("method", "variant", title=title, caption=caption, box=box.SIMPLE_HEAD)
    for column in ("with weights", "above them", "seconds", "fits"):
        table.add_column(column, justify="right")
    for row in rows:
        if not row.peak_bytes:
            table.add_row(row.method, row.variant, "", "", "", "?")
            continue
        (above,) = row.peak_bytes
        total, peak = (f"{size / 1e9:,.2f} GB" for size in ((row.model_bytes or 0) + above, above))
        table.add_row(row.method, row.variant, total, peak, f"{row.seconds[0]:.3g}", "no" if row.error else "yes")
    return table


def _run_table(rows: "list[ScaleRow]", device: "Device", samples: int, workers: int) -> "Table":
    from rich import box
    from rich.table import Table

    from atman_bench.profiling.fleet import whole_run

    title = f"{samples:,} inputs of {rows[0].tokens} tokens on {workers:,} workers, simulated on {device.name}"
    caption = (
        "loading is not counted; where a worker needs several devices, its layers are spread over them and run one "
        "after the other"
    )
    table = Table("method", "variant", title=title, caption=caption, box=box.SIMPLE_HEAD)
    for column in ("devices a worker", "GB a device", "device hours", "hours"):
        table.add_column(column, justify="right")
    for row in rows:
        run = whole_run(row, device, samples, workers)
        if run is None:
            table.add_row(row.method, row.variant, "", "", "", "?")
            continue
        each = ((row.model_bytes or 0) + row.peak_bytes[0]) / run.devices / 1e9
        table.add_row(
            row.method, row.variant, str(run.devices), f"{each:,.1f}", f"{run.device_hours:,.3g}", f"{run.hours:,.3g}"
        )
    return table
