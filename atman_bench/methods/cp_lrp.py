"""CP-LRP (Ali et al. 2022): conservative propagation, with attention weights and gates as constants.

Norms are divided by constants; values and the ungated half of a product get the whole gradient; an activation that is
no gate passes its gradient times output / input. In a decoder without biases the relevance of all positions adds up to
the target's logit. Routing weights of a mixture of experts are gates too: that is our reading, its authors had none.

According to the authors of AttnLRP, who compare with it, LRP is patented: free for personal and scientific use,
commercial use needs a licence.
"""

from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._relevance import RelevanceConfig, is_gpt2, relevance
from atman_bench.methods._rules import Rules
from atman_bench.models._base import ModelAdapter

RULES = Rules(constant_gates=True)


def explain(model: ModelAdapter, encoded: Encoded, config: RelevanceConfig, seed: int) -> Attribution:
    """Embedding x changed gradient, summed over the hidden size; contrastive by default on GPT-2."""
    contrastive = is_gpt2(model) if config.contrastive is None else config.contrastive
    return relevance(model, encoded, RULES, "cp_lrp", contrastive, config.checkpointing)


SPEC = MethodSpec(
    summary="CP-LRP: relevance propagated with attention and gates as constants (patented for commercial use)",
    version=1,
    config=RelevanceConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1 + 2 * n_targets,
    variants={"contrastive": {"contrastive": True}, "checkpointed": {"checkpointing": True}},
    default=False,
    contrast=Contrast.SPAN,
)
