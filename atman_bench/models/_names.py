"""Which model a name means, found out before torch is loaded."""

import os
import re
from pathlib import Path

from atman_bench.core.errors import ModelError, UnknownNameError
from atman_bench.models import MODELS

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_YES = ("1", "ON", "YES", "TRUE")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def family_and_argument(name: str) -> tuple[str, str]:
    """Split ``FAMILY`` or ``FAMILY:ARGUMENT``; a folder or a hub id is one of ``hf``.

    Raises:
        UnknownNameError: No such family, and it can be no folder or hub id.
    """
    family, _, argument = name.partition(":")
    if family in MODELS:
        return family, argument
    if _HUB_ID.fullmatch(name) or name.startswith((".", "~", "/")) or Path(name).is_dir():
        return "hf", name
    raise UnknownNameError(MODELS.kind, family, [listed.replace("_", "-") for listed in MODELS.names])


def check_name(name: str) -> None:
    """Refuse a model that cannot be had, as far as names tell.

    Raises:
        UnknownNameError: No such family.
        ModelError: It is written as a path, and no such folder exists, or as a hub id that cannot be had offline.
    """
    family, source = family_and_argument(name)
    if family != "hf" or not source or Path(source).expanduser().is_dir():
        return
    if not _HUB_ID.fullmatch(source):
        if "/" in source:
            raise ModelError(f"cannot load model {source!r}: no such folder; give one of save_pretrained, or a hub id")
        return  # an old id without an organisation, or a message of the loader
    offline = any(os.environ.get(variable, "").upper() in _YES for variable in _OFFLINE)
    if offline and not (_hub_cache() / f"models--{source.replace('/', '--')}").is_dir():
        raise ModelError(
            f"cannot load model {source!r}: it is no folder, the hub's cache does not have it, and HF_HUB_OFFLINE "
            "forbids to ask the hub; give a folder, or unset it"
        )


def _hub_cache() -> Path:
    """Where huggingface_hub keeps what it downloaded, by its own rules."""
    if own := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(own).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HF_HOME") or Path(cache) / "huggingface").expanduser() / "hub"
