"""Benchmarks of explanation methods for generative transformers: the AtMan paper's evaluations, on any model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atman_bench.api.comparison import compare
    from atman_bench.api.evaluation import evaluate, summarise
    from atman_bench.api.explain import explain, load_model
    from atman_bench.api.explanation import Explanation
    from atman_bench.core.plugins import include, register

    __version__: str

__all__ = [
    "Explanation",
    "compare",
    "evaluate",
    "explain",
    "include",
    "load_model",
    "register",
    "summarise",
]

_MODULES = {
    "Explanation": "api.explanation",
    "compare": "api.comparison",
    "evaluate": "api.evaluation",
    "explain": "api.explain",
    "include": "core.plugins",
    "load_model": "api.explain",
    "register": "core.plugins",
    "summarise": "api.evaluation",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: the command line's --help must not load torch.
    if name in _MODULES:
        return getattr(import_module(f"atman_bench.{_MODULES[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("atman-bench")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
