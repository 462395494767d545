"""What a user gives to ``explain`` as a prompt: which part of it is ranked, and when an answer to it ends."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from atman_bench.core.errors import ConfigError, ModelError, UnknownNameError
from atman_bench.core.records import ChatPrompt, Explained
from atman_bench.core.tensors import Encoded
from atman_bench.datasets._chunking import Span
from atman_bench.models._base import LINE_BREAK, ModelAdapter
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models._chat import chat_prompt

CONTEXT = "context"
"""Explain what stands before the question, or behind one that the prompt begins with."""

_RANGE = re.compile(r"(\d+):(\d+)")
_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*\s+|\n")


def templated(model: ModelAdapter, messages: Sequence[Mapping[str, str]]) -> ChatPrompt:
    """Messages as the model's own chat template writes them.

    Raises:
        ConfigError: They are no messages.
        ModelError: The model has no chat template, or it changes what messages say.
    """
    tokenizer = model.tokenizer if isinstance(model, CausalLM) else None
    if tokenizer is None:
        raise ModelError(f"model {model.name!r} has no tokenizer with a chat template: give prompt instead of messages")
    return chat_prompt(tokenizer, messages)


def stops(prompt: str, stop: Sequence[str] | str | None) -> tuple[str, ...]:
    """The texts that end an answer: by default a line break after plain text, and nothing in a chat.

    Raises:
        ConfigError: One is empty.
    """
    if stop is None:
        return () if isinstance(prompt, ChatPrompt) else LINE_BREAK
    given = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(given):
        raise ConfigError("stop holds an empty text, which would end every answer before it begins")
    return given


def part_and_ranges(explained: str, prompt: str, image: bool) -> tuple[Explained, list[Span] | None]:
    """Read what is to be explained.

    Args:
        explained: ``text``, ``image``, ``both``, ``context``, or a character range ``START:END`` of the prompt.
        prompt: The prompt.
        image: Whether there is one.

    Returns:
        Which part, and the character ranges that its units have to touch; None for all of it.

    Raises:
        UnknownNameError: It is none of these.
        ConfigError: The range is not in the prompt, there is no question, or no image.
    """
    contents = list(prompt.contents) if isinstance(prompt, ChatPrompt) else None
    if explained == CONTEXT:
        return Explained.TEXT, [context_of(prompt, *whole) for whole in (contents or [(0, len(prompt))])[-1:]]
    if match := _RANGE.fullmatch(explained):
        start, end = int(match[1]), int(match[2])
        if not start < end <= len(prompt):
            raise ConfigError(f"range {explained} is not in the prompt: expected 0 <= start < end <= {len(prompt)}")
        return Explained.TEXT, [(start, end)]
    if explained not in list(Explained):
        valid = [*(part.value for part in Explained), CONTEXT, "START:END"]
        raise UnknownNameError("value of explained", explained, valid)
    part = Explained(explained)
    if part is not Explained.TEXT and not image:
        raise ConfigError(f"explained={part} needs an image: give image")
    return part, contents


def context_of(prompt: str, start: int, end: int) -> Span:
    """The part of a text that its last question is about: what stands before it, or behind it if nothing does.

    A question is the sentence or line that the last question mark ends.

    Raises:
        ConfigError: There is no question mark, or nothing but the question.
    """
    mark = prompt.rfind("?", start, end)
    if mark < 0:
        raise ConfigError(
            "which part of the prompt is its context is not known, since it holds no question mark: give its "
            "characters as START:END"
        )
    ends = [match.end() for match in _SENTENCE_END.finditer(prompt, start, mark)]
    question = ends[-1] if ends else start
    if before := prompt[start:question].rstrip():  # tokens begin with the blank before them
        return start, start + len(before)
    if prompt[mark + 1 : end].strip():
        return mark + 1, end
    raise ConfigError("the prompt holds a question and no context: leave explained out to rank the question's words")


def units_within(encoded: Encoded, prompt: str, ranges: Sequence[Span]) -> list[list[int]]:
    """Each token of a prompt that touches one of some character ranges, as a unit.

    Raises:
        ModelError: The model does not tie its tokens to characters.
        ConfigError: None does.
    """
    if encoded.offsets is None:
        raise ModelError("the model does not tie its tokens to characters: which of them are the context is not known")
    units = [
        [i]
        for i, (a, b) in enumerate(encoded.offsets)
        if any(a < end and b > start for start, end in ranges) and prompt[a:b].strip()
    ]
    if not units:
        raise ConfigError("no token of the prompt lies in what is to be explained")
    return units


def check_one_prompt(**given: Any) -> None:
    """Exactly one of prompt, messages and prompt_ids is given, with what belongs to it.

    Raises:
        ConfigError: It is not so.
    """
    named = [name for name in ("prompt", "messages", "prompt_ids") if given[name] is not None]
    ids_alone = given["prompt_ids"] is not None and given["target_ids"] is not None
    texts = given["target"] is not None or given["image"] is not None
    if len(named) != 1 or (named == ["prompt_ids"]) != (given["target_ids"] is not None) or (ids_alone and texts):
        raise ConfigError(
            "explain needs either prompt and target (text; without target the model answers), or messages, or "
            f"prompt_ids and target_ids (token ids); received {', '.join(n for n, v in given.items() if v is not None)}"
        )
    if given["messages"] is not None and given["image"] is not None:
        raise ConfigError("messages hold text alone: with an image give prompt, which goes through the template too")
