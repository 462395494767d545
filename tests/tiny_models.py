"""The toy models that are installed for the tests of others too."""

from atman_bench.testing.models import (
    HOSTED,
    LLAMA,
    ODD,
    PROMPT_IDS,
    REFUSED,
    TARGET_IDS,
    VOCABULARY,
    WINDOW,
    WORDS,
    adapter,
    build,
    digest,
    save,
    save_tokenizer,
    state_of,
)

__all__ = [
    "HOSTED",
    "LLAMA",
    "ODD",
    "PROMPT_IDS",
    "REFUSED",
    "TARGET_IDS",
    "VOCABULARY",
    "WINDOW",
    "WORDS",
    "adapter",
    "build",
    "digest",
    "save",
    "save_tokenizer",
    "state_of",
]
