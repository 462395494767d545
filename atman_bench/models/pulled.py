"""Models that ``atman-bench models pull`` fetched through the package index."""

from atman_bench.models._base import LoadOptions, ModelSpec
from atman_bench.models._causal_lm import CausalLM, load_causal_lm
from atman_bench.models._pull import PulledKind, pulled_folder


def load(argument: str, options: LoadOptions) -> CausalLM:
    """Load ``pulled:NAME`` from the cache.

    Raises:
        UnknownNameError: No such model can be pulled.
        ModelError: It is no language model, or was not pulled yet.
    """
    return load_causal_lm(pulled_folder(argument, PulledKind.LANGUAGE_MODEL), argument, options)


SPEC = ModelSpec(summary="A model fetched by 'atman-bench models pull'", argument="NAME", load=load)
