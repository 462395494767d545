"""Faithfulness: does a map say what the model does where units are taken away? Pure functions of arrays.

U units, n subsets of them, T target tokens, V entries of the vocabulary, K steps. A *subset* is a boolean mask over
units, True = kept: all else is taken away by some intervention (suppressed attention, replaced embeddings), which is
the caller's business and has to be named beside every number, since metrics favour methods that perturb alike.
Log-probabilities are natural logarithms; that of a target of several tokens is their sum unless said otherwise.

=====================  ===================================================  ========  ====================
function               of                                                   better    undefined (None)
=====================  ===================================================  ========  ====================
``lds``                random subsets, scores, log-probabilities            higher    either side constant
``r2``                 the same                                             higher    either side constant
``comprehensiveness``  probabilities in full and without the top units      higher
``sufficiency``        probabilities in full and of the top units alone     *lower*
``deletion_auc``       log-probabilities, most relevant units removed first *lower*   full = empty
``insertion_auc``      log-probabilities, most relevant units kept first    higher    full = empty
``abpc``               both orders of removal                               higher    full = empty
``topk_drop``          log-probabilities in full and without the top k      higher
``normalised_aopc``    AOPC and its bounds over all orders                  higher    bounds equal
``soft_nc``            distributions in full, perturbed and empty           higher    full = empty
``soft_ns``            the same                                             higher    full = empty
=====================  ===================================================  ========  ====================

``score_map`` computes those of one map that need no bounds and no distribution, from one batch of the subsets that they
read; ``score_aopc`` and ``score_soft`` the others.
"""

from atman_bench.metrics.faithfulness._aopc import (
    MOST_UNITS,
    Bounds,
    aopc,
    aopc_bounds,
    most_subsets_of_bounds,
    normalised_aopc,
)
from atman_bench.metrics.faithfulness._costly import SOFT_DRAWS, costly_subsets, score_aopc, score_soft
from atman_bench.metrics.faithfulness._maps import (
    DEFAULT_MEASURES,
    MEASURES,
    Measure,
    ProbabilityOf,
    score_map,
    subsets_of_map,
)
from atman_bench.metrics.faithfulness._orders import (
    abpc,
    curve_auc,
    deletion_auc,
    insertion_auc,
    only_first,
    removal_order,
    step_counts,
    topk_drop,
    without_first,
)
from atman_bench.metrics.faithfulness._rationales import PERCENTS, comprehensiveness, rationale_sizes, sufficiency
from atman_bench.metrics.faithfulness._soft import RATES, hellinger, keep_rates, soft_nc, soft_ns
from atman_bench.metrics.faithfulness._subsets import lds, r2, rank_correlation
from atman_bench.metrics.faithfulness._surrogate import context_cite, response_logit, sparse_weights, token_logit

__all__ = [
    "DEFAULT_MEASURES",
    "MEASURES",
    "MOST_UNITS",
    "PERCENTS",
    "RATES",
    "SOFT_DRAWS",
    "Bounds",
    "Measure",
    "ProbabilityOf",
    "abpc",
    "aopc",
    "aopc_bounds",
    "comprehensiveness",
    "context_cite",
    "costly_subsets",
    "curve_auc",
    "deletion_auc",
    "hellinger",
    "insertion_auc",
    "keep_rates",
    "lds",
    "most_subsets_of_bounds",
    "normalised_aopc",
    "only_first",
    "r2",
    "rank_correlation",
    "rationale_sizes",
    "removal_order",
    "response_logit",
    "score_aopc",
    "score_map",
    "score_soft",
    "soft_nc",
    "soft_ns",
    "sparse_weights",
    "step_counts",
    "subsets_of_map",
    "sufficiency",
    "token_logit",
    "topk_drop",
    "without_first",
]
