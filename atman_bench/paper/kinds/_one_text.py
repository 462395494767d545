"""What kinds of runs on one text share."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atman_bench.paper.kinds._base import Plan, Request, Run

if TYPE_CHECKING:
    from atman_bench.models._base import ModelAdapter

LEAST = 0.1
"""The smallest change of a log-probability that matters, in nats: a factor of 1.1."""

ONE_EXAMPLE = "One example: there is nothing to take an interval over."
"""What every verdict on one example adds."""


@dataclass(frozen=True)
class TextRun(Run):
    """A run of one model on one text.

    Attributes:
        model: As users write it.
        loading: Options of ``load_model`` that this model needs; another one of the request's is loaded without.
        parameters: See ``Evaluation``.
    """

    model: str
    loading: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    parameters: float | None = field(default=None, kw_only=True)

    @abstractmethod
    def text_in_words(self) -> tuple[str, str]:
        """The text, and the forward passes that it takes."""

    def plan(self, name: str, request: Request) -> Plan:
        """Of one model."""
        from atman_bench.evaluation.config import RunConfig, resolve
        from atman_bench.paper.kinds._planning import check_family, model_in_words, model_needs, weights_bytes

        run: RunConfig = resolve({}, {"model": request.text_model or self.model, **self._loading(request)}, ())
        check_family(run.model_name)
        parameters = None if request.text_model else self.parameters
        text, passes = self.text_in_words()
        return Plan(
            name,
            f"{run.model_name}, one text",
            details=(("data", text), ("model", model_in_words(run, parameters)), ("passes", passes)),
            cells=1,
            needs=model_needs(run.model_name, run.revision),
            weights_bytes=None if parameters is None else weights_bytes(run, parameters),
        )

    def load(self, request: Request) -> "ModelAdapter":
        """The model, checked by a probe.

        Raises:
            ModelError: It cannot be loaded, or edits do not reach its attention.
        """
        from atman_bench.api.explain import load_model

        model = load_model(request.text_model or self.model, device=request.device, **self._loading(request))
        model.probe()
        return model

    def _loading(self, request: Request) -> Mapping[str, Any]:
        return {} if request.text_model else self.loading
