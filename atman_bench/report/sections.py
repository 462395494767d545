"""Sections of a report for results of ``atman-bench eval`` alone: one for each dataset and model."""

from pathlib import Path

from atman_bench.evaluation import store
from atman_bench.evaluation.scoring import scored_folder
from atman_bench.metrics import chosen_metrics
from atman_bench.metrics._signs import Sign
from atman_bench.report.figure_files import figure_names
from atman_bench.report.page import Section, Stored
from atman_bench.report.render import summary_tables
from atman_bench.report.tables import EXPERIMENT, frame_of, summarise


def sections_of(results: Path) -> list[Stored]:
    """A section for each dataset, model and sign rule of a results folder, with the figures that eval left there.

    Raises:
        StoreError: The folder does not exist or cannot be read.
        DataError: It has no rows.
    """
    frame = frame_of(scored_folder(results, chosen_metrics(()), _signs(results)))
    manifests = {
        cell.identity.fingerprint: (str(cell.folder.relative_to(results)), cell.manifest)
        for cell in store.cells(results)
    }
    experiments = list(frame.groupby(EXPERIMENT, sort=False))
    sections = []
    for (dataset, model, sign), rows in experiments:
        # Figures are of the last run: where there are several experiments nobody knows of which.
        names = figure_names(results / "figures") if len(experiments) == 1 else []
        section = Section(
            name=f"{dataset} · {model}",
            title=f"sign {sign}",
            paper=f"Results in {results}",
            preset="own",
            command=f"atman-bench table {results} --sign {sign}",
            tables=tuple(summary_tables(summarise(rows))),
            figures={name: f"{name.replace('_', ' ')}: {dataset}, {model}" for name in names},
            manifest=dict(manifests[fingerprint] for fingerprint in rows["fingerprint"].unique()),
        )
        sections.append(Stored(section, results / "figures"))
    return sections


def _signs(results: Path) -> list[Sign]:
    """The sign rules that rows of a results folder are stored under."""
    found = {row.sign for cell in store.cells(results) for row in cell.rows()}
    return [sign for sign in Sign if sign in found]
