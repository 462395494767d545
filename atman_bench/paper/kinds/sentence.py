"""The loss of one target when each token of a sentence is suppressed (Fig. 2a)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atman_bench.core.errors import ConfigError
from atman_bench.core.records import CharSpans, TextUnits
from atman_bench.metrics._align import unit_labels
from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.kinds._base import Outcome, Request
from atman_bench.paper.kinds._one_text import LEAST, ONE_EXAMPLE, TextRun
from atman_bench.report._format import NOTHING
from atman_bench.report.figure_files import FigureFormat, remove_others
from atman_bench.report.render import TextTable
from atman_bench.report.tables import cell_name
from atman_bench.report.verdicts import Ending, Verdict

if TYPE_CHECKING:
    from atman_bench.core.tensors import Explanation
    from atman_bench.evaluation.runner import Progress

_MOST_TOKENS = 12


@dataclass(frozen=True)
class Sentence(TextRun):
    """The loss of one target when each token of a sentence is suppressed.

    Attributes:
        prompt: The sentence, with whatever asks for the target.
        target: What follows it.
        evidence: The words of the prompt whose suppression should increase the loss most.
    """

    prompt: str
    target: str
    evidence: str

    def __post_init__(self) -> None:
        """Refuse evidence that is nowhere.

        Raises:
            ConfigError: See above.
        """
        if self.evidence not in self.prompt:
            raise ConfigError(f"evidence must be part of the prompt, received {self.evidence!r}")

    def text_in_words(self) -> tuple[str, str]:
        """The sentence, suppressed token by token."""
        passes = f"one plain, and one for each token of these {len(self.prompt.split())} words"
        return f"“{self.prompt}” → “{self.target.strip()}”", passes

    @property
    def evidence_spans(self) -> tuple[tuple[int, int], ...]:
        """Half-open character ranges of the evidence in the prompt, everywhere it occurs."""
        return tuple(found.span() for found in re.finditer(re.escape(self.evidence), self.prompt))

    def run(self, request: Request, progress: "Progress") -> "Losses":
        """Explain the target by AtMan."""
        from atman_bench.api.explain import explain
        from atman_bench.paper.kinds._manifests import manifest_on

        model = self.load(request)
        explanation = explain(model, prompt=self.prompt, target=self.target)
        return Losses(manifest_on(self, model), (), self, model.name, explanation)


@dataclass(frozen=True)
class Losses(Outcome):
    """The losses of one target.

    Attributes:
        sentence: What was run.
        model: Name of the model.
        explanation: By AtMan: increases of the loss.
    """

    sentence: Sentence
    model: str
    explanation: "Explanation"

    @property
    def plain(self) -> float:
        """The loss of the plain model, in nats a target token."""
        return -float(np.mean(self.explanation.target_logprobs))

    @property
    def shown(self) -> Sequence[int]:
        """The tokens that are shown, in order: all, or of many those that change the loss most."""
        changes = self.explanation.scores.abs().tolist()
        return sorted(sorted(range(len(changes)), key=lambda i: -changes[i])[:_MOST_TOKENS])

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """The plain loss, and the loss without each token; of many tokens those that matter most."""
        increases, shown, plain = self.explanation.scores.tolist(), self.shown, self.plain
        lines = [("(none)", f"{plain:.2f}", NOTHING)]
        lines += [
            (
                f"{self.explanation.units.texts[i].strip()} ({i})",
                f"{plain + increases[i]:.2f}",
                f"{increases[i]:+.2f}",
            )
            for i in shown
        ]
        title = f"Loss of “{''.join(self.explanation.target_texts).strip()}” · {self.model}"
        note = f"Nats a target token, mean; {len(shown)} of {len(increases)} tokens, those with the largest change."
        return (TextTable(title, note, ("suppressed", "loss", "change"), tuple(lines), (False,) * len(lines)),)

    def draw(
        self, experiment: Experiment, folder: Path, formats: Sequence[FigureFormat] = (FigureFormat.PNG,)
    ) -> Mapping[str, str]:
        """The loss without each token, as the paper's column."""
        from atman_bench.report.figures._base import save
        from atman_bench.report.figures._losses import LossLine, plot_losses

        prompt, units = self.sentence.prompt, self.explanation.units
        spans = units.spans if isinstance(units, TextUnits) else None
        lines = [LossLine(prompt, "", "", self.plain)]
        for i in self.shown:
            start, end = spans[i] if spans else (0, 0)
            loss = self.plain + float(self.explanation.scores[i])
            lines.append(LossLine(prompt[:start], prompt[start:end] or units.texts[i], prompt[end:], loss))
        target = "".join(self.explanation.target_texts).strip()
        method = cell_name(self.explanation.method, self.explanation.variant)
        caption = f"Loss of “{target}” without each token · {self.model} · {method}"
        save(lambda: plot_losses(lines), caption, folder / "losses", formats)
        remove_others(folder / "losses", formats)
        return {"losses": f"Loss of “{target}” without each token, {self.model}, {method}"}

    def verdicts(self, experiment: Experiment) -> tuple[Verdict, ...]:
        """Whether the token that matters most shares characters with the evidence; white space alone never does."""
        highest = int(self.explanation.scores.argmax())
        units = self.explanation.units
        text = units.texts[highest].strip()
        in_evidence = unit_labels(CharSpans(self.sentence.evidence_spans), units)[highest] > 0
        increase = float(self.explanation.scores[highest])
        ending = Ending.HOLDS if text and in_evidence else Ending.OPPOSITE
        if increase < LEAST:
            ending = Ending.NEGLIGIBLE
        shown = f"“{text}”" if text else "White space"
        because = f"{shown} (token {highest}) increases the loss most, by {increase:.2f} nats (smallest that matters "
        because += f"{LEAST:g}). {ONE_EXAMPLE}"
        return (Verdict(f"the loss increases most without “{self.sentence.evidence}”", ending, because, "Fig. 2a"),)
