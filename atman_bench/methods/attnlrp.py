"""AttnLRP (Achtibat et al. 2024): layer-wise relevance propagation through attention, as a changed gradient.

Norms are divided by constants; an activation passes its gradient times output / input; each factor of a product (gate
and up, expert and routing weight, query and key, attention weights and values) gets half; the softmax keeps its
derivative. Relevance is signed, in units of the target's logit, and not conserved.

According to its authors LRP is patented: free for personal and scientific use, commercial use needs a licence.
"""

from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import Contrast, MethodSpec
from atman_bench.methods._relevance import RelevanceConfig, is_gpt2, relevance
from atman_bench.methods._rules import Rules
from atman_bench.models._base import ModelAdapter

RULES = Rules()


def explain(model: ModelAdapter, encoded: Encoded, config: RelevanceConfig, seed: int) -> Attribution:
    """Embedding x changed gradient, summed over the hidden size; contrastive by default on GPT-2."""
    contrastive = is_gpt2(model) if config.contrastive is None else config.contrastive
    return relevance(model, encoded, RULES, "attnlrp", contrastive, config.checkpointing)


SPEC = MethodSpec(
    summary="AttnLRP: relevance propagated through attention by rules (patented for commercial use)",
    version=1,
    config=RelevanceConfig,
    explain=explain,
    forwards=lambda n_units, n_targets, config: 1 + 2 * n_targets,
    variants={"contrastive": {"contrastive": True}, "checkpointed": {"checkpointing": True}},
    default=False,
    contrast=Contrast.SPAN,
)
