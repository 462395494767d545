"""Continuations of ``atman-bench steer`` (Fig. 2b)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.kinds._base import Outcome, Request
from atman_bench.paper.kinds._one_text import LEAST, ONE_EXAMPLE, TextRun
from atman_bench.report._format import NOTHING
from atman_bench.report.figure_files import FigureFormat, remove_others
from atman_bench.report.render import TextTable
from atman_bench.report.verdicts import Ending, Verdict

if TYPE_CHECKING:
    from atman_bench.api.steering import Steered
    from atman_bench.evaluation.runner import Progress


@dataclass(frozen=True)
class Steering(TextRun):
    """Continuations with a word amplified or suppressed.

    Attributes:
        prompt: What is continued.
        words: Each is amplified and suppressed in turn.
        factors: Of the attention scores.
    """

    prompt: str
    words: tuple[str, ...]
    factors: tuple[float, ...]

    def text_in_words(self) -> tuple[str, str]:
        """The prompt, continued once for every word and factor."""
        changes = f"{', '.join(self.words)} x {', '.join(f'{factor:g}' for factor in self.factors)}"
        return f"“{self.prompt}”", f"one for each token of {1 + len(self.words) * len(self.factors)} texts: {changes}"

    def run(self, request: Request, progress: "Progress") -> "Continuations":
        """Steer by every word and factor."""
        from atman_bench.api.steering import Change, steer
        from atman_bench.paper.kinds._manifests import manifest_on

        model = self.load(request)
        steered = tuple(
            (word, factor, steer(model, self.prompt, [Change(word, factor)], topics=self.words))
            for word in self.words
            for factor in self.factors
        )
        return Continuations(manifest_on(self, model), (), model.name, steered)


@dataclass(frozen=True)
class Continuations(Outcome):
    """Steered continuations.

    Attributes:
        model: Name of the model.
        steered: Word, factor and what the model wrote.
    """

    model: str
    steered: "tuple[tuple[str, float, Steered], ...]"

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """A line for each change."""
        plain = self.steered[0][2].plain
        lines = [("(none)", NOTHING, NOTHING, plain.strip())]
        for word, factor, found in self.steered:
            (topic,) = (topic for topic in found.topics if topic.word == word)
            shifts = f"{topic.first.shift:+.2f}", f"{topic.mean.shift:+.2f}"
            lines.append((f"{word} × {factor:g}", *shifts, found.steered.strip()))
        note = (
            "Shift of the log-probability of the word's first token, in nats: at the first step, and mean over steps."
        )
        columns = ("change", "first step", "mean", "continuation")
        title = f"“{self.steered[0][2].prompt}” · {self.model}"
        return (TextTable(title, note, columns, tuple(lines), (False,) * len(lines)),)

    def draw(
        self, experiment: Experiment, folder: Path, formats: Sequence[FigureFormat] = (FigureFormat.PNG,)
    ) -> Mapping[str, str]:
        """The shift of each watched word by each change."""
        from atman_bench.report.figures._base import save
        from atman_bench.report.figures._shifts import Shift, plot_shifts

        shifts = [
            Shift(word, factor, topic.word, topic.first.shift, topic.mean.shift)
            for word, factor, found in self.steered
            for topic in found.topics
        ]
        save(lambda: plot_shifts(shifts), self.model, folder / "shifts", formats)
        remove_others(folder / "shifts", formats)
        return {"shifts": f"Shift of the log-probability of each word by the factor, {self.model}"}

    def verdicts(self, experiment: Experiment) -> tuple[Verdict, ...]:
        """Whether amplified words become more likely and suppressed ones less, by as much as matters."""
        shifts = {
            f"“{word}” × {factor:g}": (1 if factor > 1 else -1, topic.first.shift)
            for word, factor, found in self.steered
            for topic in found.topics
            if topic.word == word
        }
        endings = {_ending(sign * shift) for sign, shift in shifts.values()}
        because = (
            f"{', '.join(f'{change} {shift:+.2g}' for change, (_, shift) in shifts.items())} nats at the first step; "
            f"smallest that matters {LEAST:g}. {ONE_EXAMPLE}"
        )
        claim = "amplified words of the prompt become more likely in what follows, and suppressed ones less"
        return (Verdict(claim, endings.pop() if len(endings) == 1 else Ending.MIXED, because, "Fig. 2b"),)


def _ending(gain: float) -> Ending:
    """The verdict on one shift, counted in the direction of the claim, in nats."""
    if abs(gain) < LEAST:
        return Ending.NEGLIGIBLE
    return Ending.HOLDS if gain > 0 else Ending.OPPOSITE
