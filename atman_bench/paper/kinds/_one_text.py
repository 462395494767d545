"""What kinds of runs on one text share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from atman_bench.paper.kinds._base import Plan, Request, Run

if TYPE_CHECKING:
    from atman_bench.models._base import ModelAdapter

ONE_EXAMPLE = "One example: there is nothing to take an interval over."
"""What every verdict on one example adds."""


@dataclass(frozen=True)
class TextRun(Run):
    """A run of one model on one text.

    Attributes:
        model: As users write it.
    """

    model: str

    def plan(self, name: str, request: Request) -> Plan:
        """Of one model."""
        from atman_bench.paper.kinds._planning import check_family, model_needs

        model = request.text_model or self.model
        check_family(model)
        return Plan(name, f"{model}, one text", cells=1, needs=model_needs(model))

    def load(self, request: Request) -> "ModelAdapter":
        """The model, checked by a probe.

        Raises:
            ModelError: It cannot be loaded, or edits do not reach its attention.
        """
        from atman_bench.api.explain import load_model

        model = load_model(request.text_model or self.model, device=request.device)
        model.probe()
        return model
