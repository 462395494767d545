"""Benchmarks of explanation methods for generative transformers: the AtMan paper's evaluations, on any model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atman_bench.api.explain import explain, load_model

    __version__: str

__all__ = ["explain", "load_model"]


def __getattr__(name: str) -> Any:
    # Imported on first use: the command line's --help must not load torch.
    if name in __all__:
        from atman_bench.api import explain as api

        return getattr(api, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("atman-bench")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
