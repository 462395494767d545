"""Which model a name means, found out before torch is loaded."""

import re
from pathlib import Path

from atman_bench.core import hub
from atman_bench.core.errors import ModelError, UnknownNameError
from atman_bench.models import MODELS

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


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
    families = [listed.replace("_", "-") for listed in MODELS.names]
    raise UnknownNameError(MODELS.kind, family, families, "; or a folder that exists, or a hub id (OWNER/NAME)")


def check_name(name: str) -> None:
    """Refuse a model that cannot be had, as far as names tell.

    Raises:
        UnknownNameError: No such family.
        ModelError: It is written as a path, and no such folder exists, or as a hub id that is not in the hub's cache
            while the hub cannot be asked.
    """
    family, source = family_and_argument(name)
    if family != "hf" or not source or Path(source).expanduser().is_dir():
        return
    if not _HUB_ID.fullmatch(source):
        if "/" in source:
            raise ModelError(f"cannot load model {source!r}: no such folder; give one of save_pretrained, or a hub id")
        return  # an old id without an organisation, or a message of the loader
    if hub.cached(source):
        return
    if hub.is_forbidden():
        why, remedy = "HF_HUB_OFFLINE forbids to ask the hub", "give a folder, or unset it"
    elif reason := hub.why_unreachable():
        why, remedy = f"{hub.endpoint()} cannot be reached ({reason})", "give a folder, or connect to a network"
    else:
        return
    raise ModelError(
        f"cannot load model {source!r}: it is no folder, the hub's cache does not have it, and {why}; {remedy}"
    )
