"""What ``atman_bench.explain`` gives back: scores that can be looked at, drawn, saved and compared."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from atman_bench.core import tensors
from atman_bench.core.errors import DataError, UnknownNameError
from atman_bench.core.files import write_atomically
from atman_bench.core.records import Cost, Dtype, JointUnits, PatchUnits, Picture, TextUnits, Units
from atman_bench.core.texts import json_text, parse_json
from atman_bench.report.heatmap import HeatMap, Phrase
from atman_bench.report.picture_maps import heat_map_of
from atman_bench.report.tables import cell_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SCHEMA = 1
"""Version of the files that ``save`` writes."""


class By(StrEnum):
    """What scores are shown of: the units that were explained, or words, whose score is the sum of their units'."""

    TOKEN = "token"
    WORD = "word"


def chosen_by(by: str) -> By:
    """Read ``by``.

    Raises:
        UnknownNameError: It is neither.
    """
    try:
        return By(by)
    except ValueError:
        raise UnknownNameError("value of by", by, [value.value for value in By]) from None


@dataclass(frozen=True, repr=False, eq=False)
class Explanation(tensors.Explanation):
    """Why a model gives a target after a prompt: a score for each unit, higher = more important.

    Attributes:
        model: Name of the model.
        dtype: Type of its weights.
        prompt: What it read, or None where it was given as token ids.
        image: The image before it, if any.
        options: The method's options that were given.
        seed: Of stochastic methods.

    Example:
        >>> import atman_bench
        >>> prompt = "Everdeen Bridge was designed by Karin Fairbanks. Q: Who designed Everdeen Bridge? A:"
        >>> found = atman_bench.explain("tiny-text", prompt=prompt)
        >>> found.target
        ' Karin Fairbanks'
        >>> found.top(1, by="word")[0][0]
        'Fairbanks'
        >>> found.scores.shape == (len(found.units),)
        True
    """

    model: str = ""
    dtype: str = Dtype.FLOAT32
    prompt: str | None = None
    image: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @classmethod
    def of(cls, explained: tensors.Explanation, **about: Any) -> Self:
        """An explanation with what it is of."""
        return cls(**{f.name: getattr(explained, f.name) for f in fields(explained)}, **about)

    @property
    def target(self) -> str:
        """What is explained."""
        return "".join(self.target_texts)

    @property
    def name(self) -> str:
        """The method and its variant, as tables call them."""
        return cell_name(self.method, self.variant)

    def __repr__(self) -> str:
        top = ", ".join(f"{text!r} {score:.3g}" for text, score in self.top(3, by=By.WORD))
        return f"<Explanation of {self.target!r} by {self.name} on {self.model}: {len(self.units)} units, top {top}>"

    def _repr_html_(self) -> str:
        return framed(self.to_html())

    def top(self, n: int = 10, *, by: str = By.TOKEN) -> list[tuple[str, float]]:
        """The n units, or words, with the highest scores, and these."""
        # Words need the prompt alone, and an image need not be there any more.
        heat = replace(self, image=None).heat(by)
        order = np.argsort(-heat.scores, kind="stable")[:n]
        return [(heat.texts[unit].strip() or heat.texts[unit], float(heat.scores[unit])) for unit in order]

    def heat(
        self,
        by: str = By.TOKEN,
        phrases: tuple[Phrase, ...] = (),
        evidence: Sequence[tuple[int, int]] | None = None,
    ) -> HeatMap:
        """What is drawn.

        Args:
            by: ``token`` (the units as they were explained) or ``word``.
            phrases: Parts of the target that get a map of their own.
            evidence: Character ranges of the prompt that are known to hold the answer: they are outlined.
        """
        caption = f"{self.model} · {self.method} {self.variant}"
        if self.foil is not None:
            caption += f" · rather than {self.foil!r}"
        picture = None if self.image is None else Picture(self.image)
        heat = heat_map_of(self, self.prompt, picture, caption, phrases, self.dtype)
        if evidence is not None and heat.spans is not None:
            spans = [span or (0, 0) for span in heat.spans]
            touched = [any(a < end and b > start for a, b in evidence) for start, end in spans]
            heat = replace(heat, evidence=np.array(touched, float))
        return heat.by_words() if chosen_by(by) is By.WORD else heat

    def show(self, *, by: str = By.TOKEN) -> None:
        """Show the map: in a notebook as a page to click through, elsewhere as coloured text."""
        from atman_bench.report.heatmap_terminal import to_terminal

        if in_notebook():
            from IPython.display import HTML, display

            display(HTML(framed(self.to_html(by=by))))
            return
        from rich.console import Console

        Console(markup=False, emoji=False, highlight=False).print(to_terminal(self.heat(by)))

    def to_html(self, *, by: str = By.TOKEN) -> str:
        """A web page with the map, which needs no other file and no network."""
        from atman_bench.report.heatmap_page import to_html

        return to_html([(self.name, self.heat(by))])

    def plot(self, *, by: str = By.TOKEN) -> "Figure":
        """The map as a matplotlib figure."""
        from atman_bench.report.heatmap_png import to_figure

        return to_figure(self.heat(by))

    def to_dataframe(self, *, by: str = By.TOKEN) -> "pd.DataFrame":
        """A line for each unit: its text, its range in the prompt, its score, and one column for each target token.

        Example:
            >>> import atman_bench
            >>> prompt = "Everdeen Bridge was designed by Karin Fairbanks. Q: Who designed Everdeen Bridge? A:"
            >>> frame = atman_bench.explain("tiny-text", prompt=prompt).to_dataframe(by="word")
            >>> list(frame.columns[:4])
            ['text', 'start', 'end', 'score']
        """
        import pandas as pd

        heat = self.heat(by)
        spans = heat.spans or (None,) * len(heat.texts)
        columns: dict[str, Any] = {
            "text": list(heat.texts),
            "start": pd.array([None if span is None else span[0] for span in spans], dtype="Int64"),
            "end": pd.array([None if span is None else span[1] for span in spans], dtype="Int64"),
            "score": heat.scores,
        }
        if heat.per_target is not None:
            for i, (text, scores) in enumerate(zip(self.target_texts, heat.per_target, strict=True), start=1):
                columns[f"{i}: {text}"] = scores
        return pd.DataFrame(columns)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data: what ``save`` writes."""
        return {
            "schema": SCHEMA,
            "uid": self.uid,
            "model": self.model,
            "dtype": str(self.dtype),
            "method": self.method,
            "variant": self.variant,
            "options": json.loads(json.dumps(dict(self.options), default=str)),
            "seed": self.seed,
            "prompt": self.prompt,
            "image": None if self.image is None else str(self.image),
            "units": [_of_block(block) for block in _blocks(self.units)],
            "scores": self.scores.tolist(),
            "target_texts": list(self.target_texts),
            "target_logprobs": list(self.target_logprobs),
            "per_target": None if self.per_target is None else self.per_target.tolist(),
            "foil": self.foil,
            "answered": self.answered,
            "cost": asdict(self.cost),
            "remarks": list(self.remarks),
        }

    def save(self, path: str | Path) -> None:
        """Write it as JSON; ``load`` gives the same scores back, to the last bit.

        Raises:
            StoreError: The file cannot be written.
        """
        write_atomically(Path(path), json_text(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            DataError: The file cannot be read, or is not such a file.

        Example:
            >>> import tempfile, atman_bench
            >>> prompt = "Everdeen Bridge was designed by Karin Fairbanks. Q: Who designed Everdeen Bridge? A:"
            >>> found = atman_bench.explain("tiny-text", prompt=prompt)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     found.save(f"{folder}/ada.json")
            ...     again = atman_bench.Explanation.load(f"{folder}/ada.json")
            >>> bool((again.scores == found.scores).all())
            True
        """
        try:
            content = parse_json(Path(path).read_bytes())
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise DataError(f"{path} is no saved explanation: {error}") from error
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise DataError(
                f"{path} is no explanation that this version saves: expected an object with schema {SCHEMA}"
            )
        try:
            return cls._from(content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path} is no saved explanation: {type(error).__name__}: {error}") from error

    @classmethod
    def _from(cls, content: Mapping[str, Any]) -> Self:
        blocks = tuple(map(_block_of, content["units"]))
        units = blocks[0] if len(blocks) == 1 else JointUnits(blocks)
        scores = torch.tensor(content["scores"], dtype=torch.float32)
        per_target = content["per_target"]
        if scores.shape != (len(units),):
            raise ValueError(f"{len(units)} units and {tuple(scores.shape)} scores")
        return cls(
            uid=content["uid"],
            method=content["method"],
            variant=content["variant"],
            scores=scores,
            per_target=None if per_target is None else torch.tensor(per_target, dtype=torch.float32),
            units=units,
            target_texts=tuple(content["target_texts"]),
            target_logprobs=tuple(content["target_logprobs"]),
            answered=content["answered"],
            foil=content["foil"],
            cost=Cost(**content["cost"]),
            remarks=tuple(content["remarks"]),
            model=content["model"],
            dtype=content["dtype"],
            prompt=content["prompt"],
            image=None if content["image"] is None else Path(content["image"]),
            options=content["options"],
            seed=content["seed"],
        )


def _blocks(units: Units) -> tuple[TextUnits | PatchUnits, ...]:
    return units.blocks if isinstance(units, JointUnits) else (units,)


def _of_block(block: TextUnits | PatchUnits) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(block)))


def _block_of(content: Mapping[str, Any]) -> TextUnits | PatchUnits:
    if "grid" in content:
        return PatchUnits(
            tuple(content["grid"]), tuple(content["area"]), tuple(content["size"]), content.get("picture", 0)
        )
    spans = content["spans"]
    return TextUnits(tuple(content["texts"]), None if spans is None else tuple((a, b) for a, b in spans))


def framed(page: str) -> str:
    """A page inside another one, which its styles do not reach."""
    return (
        f'<iframe srcdoc="{html.escape(page)}" style="width:100%;height:24rem;border:0" '
        "onload=\"this.style.height=Math.min(900,this.contentDocument.documentElement.scrollHeight+8)+'px'\"></iframe>"
    )


def in_notebook() -> bool:
    """Whether what is displayed is shown as a page."""
    import sys

    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"
