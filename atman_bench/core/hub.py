"""The model hub: whether it may be asked, whether it answers, and what of it lies in its cache.

The libraries that load from it try six times, for a minute in all, and log every try. One short request before that
lets a machine without a network fail at once, or load what was downloaded earlier.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from ssl import SSLError
from threading import Thread
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

_YES = ("1", "ON", "YES", "TRUE")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")

TIMEOUT = 6.0
"""Seconds after which a hub that has not answered counts as unreachable."""


def is_forbidden() -> bool:
    """Whether the environment says that the hub is not to be asked."""
    return any(os.environ.get(variable, "").upper() in _YES for variable in _OFFLINE)


def endpoint() -> str:
    """The hub's address."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def cached(hub_id: str) -> bool:
    """Whether anything of a model was downloaded."""
    return (_cache() / f"models--{hub_id.replace('/', '--')}").is_dir()


def why_unreachable() -> str | None:
    """Why no connection to the hub comes about; None where it answers, whatever its answer is.

    Proxies are taken from the environment. Resolving a name knows no time limit, so a thread does it.
    """
    reasons: list[str | None] = []

    def ask() -> None:
        try:
            with urlopen(Request(endpoint(), method="HEAD"), timeout=TIMEOUT):
                reasons.append(None)
        except HTTPError:
            reasons.append(None)
        except URLError as error:
            # Certificates are checked by the libraries, whose settings for them differ.
            fine = isinstance(error.reason, SSLError)
            reasons.append(None if fine else getattr(error.reason, "strerror", None) or str(error.reason))
        except (OSError, ValueError) as error:
            reasons.append(str(error))

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(TIMEOUT)
    return reasons[0] if reasons else f"no answer within {TIMEOUT:g} s"


@contextmanager
def offline_where_unreachable(source: str | Path) -> Iterator[None]:
    """Let libraries take a model or data from their caches at once where the hub does not answer.

    Args:
        source: What is loaded; of a file or folder the hub knows nothing, and it is not asked.
    """
    if Path(source).expanduser().exists() or is_forbidden() or why_unreachable() is None:
        yield
        return
    from huggingface_hub import constants

    with ExitStack() as restored:
        # datasets copies the setting when it is imported.
        for module in (constants, sys.modules.get("datasets.config")):
            if module is not None:
                restored.callback(setattr, module, "HF_HUB_OFFLINE", module.HF_HUB_OFFLINE)
                module.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
        yield


def _cache() -> Path:
    """Where huggingface_hub keeps what it downloaded, by its own rules."""
    if own := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(own).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HF_HOME") or Path(cache) / "huggingface").expanduser() / "hub"
