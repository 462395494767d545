"""Models that ``atman-bench models pull`` fetched through the package index."""

from atman_bench.errors import ModelError
from atman_bench.models._base import LoadOptions, ModelSpec
from atman_bench.models._causal_lm import CausalLM, load_causal_lm
from atman_bench.pull import cache_folder, find_pullable


def load(argument: str, options: LoadOptions) -> CausalLM:
    """Load ``pulled:NAME`` from the cache.

    Raises:
        UnknownNameError: No such model can be pulled.
        ModelError: It was not pulled yet.
    """
    name = find_pullable(argument).name
    folder = cache_folder() / name
    if not folder.is_dir():
        raise ModelError(f"model {name!r} is not in {cache_folder()}: run 'atman-bench models pull {name}' first")
    return load_causal_lm(folder, name, options)


SPEC = ModelSpec(summary="A model fetched by 'atman-bench models pull'", argument="NAME", load=load)
