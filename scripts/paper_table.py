"""Write docs/paper.md: every table, figure and claim of the paper, the command that tests it, and what came of it.

    python scripts/paper_table.py --tiny results/reproduce-tiny --small results/reproduce-small --out docs/paper.md

Verdicts are those of the two results folders; at the preset paper it is said whether an experiment resolves, that is,
whether models, data, methods and options of its configuration exist. Nothing is run.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

from atman_bench.paper.experiments import EXPERIMENTS
from atman_bench.paper.experiments._base import Preset
from atman_bench.paper.kinds._base import Request
from atman_bench.paper.reproduce import plan
from atman_bench.report import page
from atman_bench.report._format import NOTHING, escaped, markdown_table
from atman_bench.report.verdicts import Verdict, headline

HEAD = """# The paper, claim by claim

Every table, figure, number and qualitative claim of the appendix (A.1 to A.15), with the command that tests it and
what came of it at the presets `tiny` (embedded models, generated data) and `small` (real models and photographs on
a CPU). At the preset `paper` (the paper's models and data) nothing was run: the last column says whether `atman-
bench reproduce NAME --preset paper` resolves. Made by

```sh
python scripts/paper_table.py --tiny {tiny} --small {small} --out {out}
```

A claim is what the paper says, in its direction. It *holds here* if the paired 95 % interval lies beyond 0, the
sign-flip test agrees after Holm's correction over the page, and the difference is at least the smallest that
matters (1 point of the metric unless said otherwise). Where maps are compared there are two verdicts: by the
paper's metric (A.11: AP, which rewards maps that are quiet off the evidence, or AR) and, for AP, by AUPRC (the
order of the scores alone). What the paper does not say is a sanity check.
"""


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", type=Path, default=Path("results/reproduce-tiny"))
    parser.add_argument("--small", type=Path, default=Path("results/reproduce-small"))
    parser.add_argument("--out", type=Path, default=Path("docs/paper.md"))
    told = parser.parse_args()
    sections = {
        preset: {stored.section.name: stored.section for stored in page.prepared(page.read(folder))}
        for preset, folder in ((Preset.TINY, told.tiny), (Preset.SMALL, told.small))
    }
    parts = [HEAD.format(tiny=told.tiny, small=told.small, out=told.out)]
    for preset, found in sections.items():
        counted = headline(verdict for section in found.values() for verdict in section.verdicts)
        parts.append(f"**Preset {preset}.** {counted}\n")
    parts += ["## Tables and figures\n", experiments_table(sections)]
    parts += ["## Claims of the paper\n", claims_table(sections, of_claims=True)]
    parts += ["## Sanity checks\n", claims_table(sections, of_claims=False)]
    told.out.write_text("\n".join(parts), encoding="utf-8")


def experiments_table(sections: Mapping[Preset, Mapping[str, page.Section]]) -> str:
    """A line for each experiment."""
    lines = []
    for name in page.in_order(EXPERIMENTS.names):
        spec = EXPERIMENTS.get(name)
        ran = [_ran(sections[preset].get(name)) for preset in (Preset.TINY, Preset.SMALL)]
        command = f"`atman-bench reproduce {name}`"
        lines.append([command, escaped(spec.title), escaped(spec.paper), *ran, escaped(_resolves(name))])
    header = ("command", "shows", "in the paper", "tiny", "small", "paper")
    return markdown_table(header, [":---"] * len(header), lines)


def claims_table(sections: Mapping[Preset, Mapping[str, page.Section]], *, of_claims: bool) -> str:
    """A line for each claim, or for each sanity check."""
    lines = []
    for name in page.in_order(EXPERIMENTS.names):
        by_preset = {
            preset: {v.claim: v for v in found[name].verdicts if bool(v.source) is of_claims} if name in found else {}
            for preset, found in sections.items()
        }
        for claim in dict.fromkeys(claim for verdicts in by_preset.values() for claim in verdicts):
            verdicts = [by_preset[preset].get(claim) for preset in sections]
            source = next(verdict.source for verdict in verdicts if verdict is not None)
            texts = [escaped(text) for text in (source, claim)] if of_claims else [escaped(claim)]
            lines.append([*texts, name, *map(_ending, verdicts)])
    header = (*(("source",) if of_claims else ()), "claim", "experiment", "tiny", "small")
    return markdown_table(header, [":---"] * len(header), lines)


def _ran(section: page.Section | None) -> str:
    if section is None:
        return "not stored"
    return f"not run: {escaped(section.missing)}" if section.missing else "run"


def _ending(verdict: Verdict | None) -> str:
    if verdict is None:
        return NOTHING
    text = f"{verdict.mark} {verdict.ending}"
    if verdict.ranking is not None:
        text += f"; AUPRC: {verdict.ranking}"
    # Only where nothing was run is the reason not in the table of experiments, or in numbers on the page.
    return text if verdict.p_value is not None or not verdict.because else f"{text}. {escaped(verdict.because)}"


def _resolves(name: str) -> str:
    """What the preset paper would run, or why it runs nothing."""
    return "; ".join(_plans(name))


def _plans(name: str) -> Iterator[str]:
    spec = EXPERIMENTS.get(name)
    if Preset.PAPER not in spec.runs:
        yield f"nothing: {spec.left_out[Preset.PAPER]}"
        return
    planned = plan(name, Request(Preset.PAPER, Path("results/reproduce-paper")))
    yield f"resolves: {planned.what}"


if __name__ == "__main__":
    main()
