"""Token maps of an evaluation, scored chunk by chunk (A.8)."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from atman_bench.paper.kinds._base import Outcome, Plan, Request, Run
from atman_bench.paper.kinds.evaluation import Evaluation
from atman_bench.report.tables import frame_of

if TYPE_CHECKING:
    from atman_bench.evaluation.runner import Progress


@dataclass(frozen=True)
class Chunks(Run):
    """Rows of ``atman-bench eval`` whose token maps are scored chunk by chunk, without computing them again.

    Attributes:
        tokens: What is run; its dataset is of texts.
    """

    tokens: Evaluation

    @property
    def computed(self) -> Run:
        """The run of the tokens."""
        return self.tokens

    def plan(self, name: str, request: Request) -> Plan:
        """That of the tokens."""
        return self.tokens.plan(name, request)

    def run(self, request: Request, progress: "Progress") -> Outcome:
        """Run the tokens and score their maps again."""
        from atman_bench.evaluation.chunk_scoring import chunk_rows

        tokens = self.tokens.run(request, progress)
        return replace(tokens, frame=frame_of(chunk_rows(tokens.config, tokens.summary)))
