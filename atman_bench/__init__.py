"""Benchmarks of explanation methods for generative transformers: the AtMan paper's evaluations, on any model."""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atman_bench.api.comparison import compare
    from atman_bench.api.evaluation import evaluate, summarise
    from atman_bench.api.explain import explain, load_model
    from atman_bench.api.explanation import Explanation
    from atman_bench.core.plugins import include, register
    from atman_bench.core.records import Boxes, CharSpans, Modality, Picture, RegionMask, Sample
    from atman_bench.core.tensors import Attribution, Encoded
    from atman_bench.datasets._base import Dataset, DatasetSpec
    from atman_bench.methods._base import FloorSpec, MethodSpec
    from atman_bench.metrics._base import MetricSpec
    from atman_bench.models._base import ModelSpec, Pass
    from atman_bench.report.figures._base import FigureSpec

    __version__: str

# transformers imports torchao where it is installed, which warns of kernels for devices that are not there.
for _logger in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_logger).setLevel(logging.ERROR)

_NAMES = {
    "api.comparison": ("compare",),
    "api.evaluation": ("evaluate", "summarise"),
    "api.explain": ("explain", "load_model"),
    "api.explanation": ("Explanation",),
    # What plug-ins are made of.
    "core.plugins": ("include", "register"),
    "core.records": ("Boxes", "CharSpans", "Modality", "Picture", "RegionMask", "Sample"),
    "core.tensors": ("Attribution", "Encoded"),
    "datasets._base": ("Dataset", "DatasetSpec"),
    "methods._base": ("FloorSpec", "MethodSpec"),
    "metrics._base": ("MetricSpec",),
    "models._base": ("ModelSpec", "Pass"),
    "report.figures._base": ("FigureSpec",),
}
"""Module -> what of it is public."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "Attribution",
    "Boxes",
    "CharSpans",
    "Dataset",
    "DatasetSpec",
    "Encoded",
    "Explanation",
    "FigureSpec",
    "FloorSpec",
    "MethodSpec",
    "MetricSpec",
    "Modality",
    "ModelSpec",
    "Pass",
    "Picture",
    "RegionMask",
    "Sample",
    "compare",
    "evaluate",
    "explain",
    "include",
    "load_model",
    "register",
    "summarise",
]


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
