"""What experiments on single examples gave: texts and maps to look at (Figs 1a, 2, 3, 16 and 17)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from atman_bench.api.docqa import DocumentAnswer, relative_maximum
from atman_bench.api.steering import Steered
from atman_bench.core.files import write_atomically
from atman_bench.core.records import TextUnits
from atman_bench.core.tensors import Explanation
from atman_bench.paper.examples import ExampleMap
from atman_bench.paper.experiments._base import Experiment
from atman_bench.paper.outcomes import Outcome, draw_figures
from atman_bench.report.document import document_map
from atman_bench.report.heatmap import HeatMap, as_dict, to_png
from atman_bench.report.page import Ending, Verdict
from atman_bench.report.render import NOTHING, TextTable
from atman_bench.report.tables import cell_name

_MOST_TOKENS = 12
_MOST_UNITS = 3
_UNDECIDED = "One example: there is nothing to take an interval over."


@dataclass(frozen=True)
class Lost(Outcome):
    """The losses of one target (Fig. 2a).

    Attributes:
        prompt: What comes before the target.
        evidence: What should matter most.
        model: Name of the model.
        explanation: By AtMan: rises of the loss.
    """

    prompt: str
    evidence: str
    model: str
    explanation: Explanation

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """The plain loss, and the loss without each token; of many tokens those that matter most."""
        rises = self.explanation.scores.tolist()
        shown: Sequence[int] = range(len(rises))
        if len(rises) > _MOST_TOKENS:
            shown = sorted(sorted(shown, key=lambda i: -abs(rises[i]))[:_MOST_TOKENS])
        lines = [("(none)", f"{self._plain:.2f}", NOTHING)]
        lines += [
            (f"{self.explanation.units.texts[i].strip()} ({i})", f"{self._plain + rises[i]:.2f}", f"{rises[i]:+.2f}")
            for i in shown
        ]
        title = f"Loss of “{''.join(self.explanation.target_texts).strip()}” · {self.model}"
        note = f"Nats a target token, mean; {len(shown)} of {len(rises)} tokens, those with the largest change."
        return (TextTable(title, note, ("suppressed", "loss", "change"), tuple(lines), (False,) * len(lines)),)

    def draw(self, experiment: Experiment, folder: Path) -> Mapping[str, str]:
        """The text as a heat map."""
        caption = f"{self.model} · {cell_name(self.explanation.method, self.explanation.variant)}"
        heat = HeatMap(
            caption=caption,
            texts=self.explanation.units.texts,
            scores=self.explanation.scores.numpy(),
            target_texts=self.explanation.target_texts,
            prompt=self.prompt,
            spans=self.explanation.units.spans if isinstance(self.explanation.units, TextUnits) else None,
        )
        folder.mkdir(parents=True, exist_ok=True)
        to_png(heat, folder / "losses.png")
        return {"losses": f"Change of the loss of each token, {caption}"}

    def verdicts(self, experiment: Experiment) -> tuple[Verdict, ...]:
        """Whether the evidence matters most."""
        highest = int(self.explanation.scores.argmax())
        text = self.explanation.units.texts[highest].strip()
        ending = Ending.HOLDS if text in self.evidence else Ending.OPPOSITE
        because = f"“{text}” raises the loss most, by {float(self.explanation.scores[highest]):.2f} nats. {_UNDECIDED}"
        return (Verdict(f"The loss rises most without “{self.evidence}”", ending, because),)

    @property
    def _plain(self) -> float:
        return -float(np.mean(self.explanation.target_logprobs))


@dataclass(frozen=True)
class Written(Outcome):
    """Steered continuations (Fig. 2b).

    Attributes:
        model: Name of the model.
        steered: Word, factor and what the model wrote.
    """

    model: str
    steered: tuple[tuple[str, float, Steered], ...]

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

    def draw(self, experiment: Experiment, folder: Path) -> Mapping[str, str]:
        """None: texts are in the table."""
        return {}

    def verdicts(self, experiment: Experiment) -> tuple[Verdict, ...]:
        """Whether each change moves its word the way it should."""
        verdicts = []
        for word, factor, found in self.steered:
            (topic,) = (topic for topic in found.topics if topic.word == word)
            doing, way, sign = ("Amplifying", "more", 1) if factor > 1 else ("Suppressing", "less", -1)
            right = sign * topic.first.shift > 0
            claim = f"{doing} “{word}” makes it {way} likely"
            because = f"{topic.first.shift:+.2g} nats at the first step. {_UNDECIDED}"
            verdicts.append(Verdict(claim, Ending.HOLDS if right else Ending.OPPOSITE, because))
        return tuple(verdicts)


@dataclass(frozen=True)
class Answered(Outcome):
    """Questions to one document (Fig. 16).

    Attributes:
        model: Name of the model.
        document: The text.
        answers: Of the questions.
    """

    model: str
    document: str
    answers: tuple[DocumentAnswer, ...]

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """A line for each question."""
        lines = tuple(
            (
                answer.question,
                answer.target.strip(),
                "yes" if answer.explanation.answered else "no",
                answer.texts[answer.highest].strip(),
                f"{max(answer.scores):.3g}",
                NOTHING if answer.rank is None else f"{answer.rank} of {len(answer.chunks)}",
            )
            for answer in self.answers
        )
        note = "Own: the model says this answer itself. Rank: of the chunk with the evidence; – where there is none."
        columns = ("question", "answer", "own", "highest chunk", "its score", "rank")
        return (TextTable(f"Chunks of a document · {self.model}", note, columns, lines, (False,) * len(lines)),)

    def draw(self, experiment: Experiment, folder: Path) -> Mapping[str, str]:
        """The document as a heat map for each question."""
        maps = document_map(
            caption=self.model,
            document=self.document,
            chunks=self.answers[0].chunks,
            questions=tuple(answer.question for answer in self.answers),
            answers=tuple(answer.target for answer in self.answers),
            scores=np.array([answer.scores for answer in self.answers], np.float32),
        )
        folder.mkdir(parents=True, exist_ok=True)
        to_png(maps, folder / "document.png")
        return {"document": f"Which chunks each answer depends on, {self.model}"}

    def verdicts(self, experiment: Experiment) -> tuple[Verdict, ...]:
        """Whether the evidence stands out, and nothing does where there is none."""
        ranks = [answer.rank for answer in self.answers if answer.rank is not None]
        first = ranks.count(1)
        ending = {len(ranks): Ending.HOLDS, 0: Ending.OPPOSITE}.get(first, Ending.MIXED)
        verdicts = [
            Verdict("The chunk with the evidence has the highest score", ending, f"{first} of {len(ranks)} questions.")
        ]
        for answer in self.answers:
            share = relative_maximum(answer, self.answers) if answer.expected == () else None
            if share is not None:
                because = (
                    f"“{answer.question}”: the largest score is {share:.0%} of the mean of the others'. {_UNDECIDED}"
                )
                ending = Ending.HOLDS if share < 1 else Ending.OPPOSITE
                verdicts.append(Verdict("Without evidence nothing stands out as much", ending, because))
        return tuple(verdicts)


@dataclass(frozen=True)
class Illustrated(Outcome):
    """Maps of single samples (Figs 1a, 3 and 17).

    Attributes:
        maps: Example by example, in the order of the methods.
    """

    maps: tuple[ExampleMap, ...]

    def tables(self, experiment: Experiment) -> tuple[TextTable, ...]:
        """The highest units of each map, and how much of the relevance for the target is on the picture."""
        lines = tuple(
            (
                found.title,
                cell_name(found.row.method, found.row.variant),
                ", ".join(f"{text} ({score:.2g})" for text, score in found.highest(_MOST_UNITS)) or NOTHING,
                NOTHING if found.share_on_picture is None else f"{100 * found.share_on_picture:.0f}",
            )
            for found in self.maps
        )
        note = "Units with the highest positive scores. Picture: per cent of the positive relevance that is on patches."
        first = self.maps[0].row
        title = f"Highest units · {first.dataset} · {first.model}"
        columns = ("example", "method", "highest units", "picture")
        return (TextTable(title, note, columns, lines, (False,) * len(lines)),)

    def draw(self, experiment: Experiment, folder: Path) -> Mapping[str, str]:
        """The figures, and beside them ``examples.json`` with all scores.

        Raises:
            StoreError: The folder cannot be written.
        """
        records = [{**asdict(m.row), "example": m.title, "heat": as_dict(m.heat)} for m in self.maps]
        write_atomically(folder / "examples.json", json.dumps(records, ensure_ascii=False, indent=1) + "\n")
        frame = pd.DataFrame([{**asdict(m.row), "example": m.title, "heat": m.heat} for m in self.maps])
        return draw_figures(experiment.figures, frame, folder)
