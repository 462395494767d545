"""Chat messages as the prompt that a tokenizer's own template makes of them."""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from atman_bench.attention.patching import foreign_code
from atman_bench.core.errors import ConfigError, ModelError
from atman_bench.core.records import ChatPrompt
from atman_bench.models._parts import text_part

_FIRST_MARK = 0xE000
"""Private characters stand for what messages say while the template is filled, so that it is found in the result."""


def chat_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> ChatPrompt:
    """Fill a tokenizer's chat template, up to where the model answers.

    White space around what a message says is dropped, as most templates do.

    Args:
        tokenizer: With a chat template.
        messages: Each ``{"role": "user", "content": "..."}``, as transformers has them.

    Raises:
        ConfigError: There are no messages, or one has no role or no text.
        ModelError: There is no template, it refuses the messages, or its tokens are not those of its text.
    """
    if not messages:
        raise ConfigError('messages are empty: give at least [{"role": "user", "content": "..."}]')
    for message in messages:
        if not (isinstance(message, Mapping) and isinstance(message.get("role"), str)):
            raise ConfigError(f'a message is {{"role": "user", "content": "..."}}, received {message!r}')
        if not (isinstance(message.get("content"), str) and message["content"].strip()):
            raise ConfigError(f"a message's content is a text that is not empty, received {message.get('content')!r}")
    if tokenizer.chat_template is None:
        raise ModelError("the tokenizer has no chat template: give prompt instead of messages (leave out --chat)")
    contents = [message["content"].strip() for message in messages]
    marks = [chr(_FIRST_MARK + i) for i in range(len(messages))]
    with foreign_code("the tokenizer's chat template refuses the messages"):
        marked, written = (
            tokenizer.apply_chat_template(
                [{**message, "content": text} for message, text in zip(messages, texts, strict=True)],
                tokenize=False,
                add_generation_prompt=True,
            )
            for texts in (marks, contents)
        )
        ids = tokenizer.apply_chat_template(
            [{**message, "content": text} for message, text in zip(messages, contents, strict=True)],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=False,
        )
    prompt = ChatPrompt(written, _places(marked, written, marks, contents))
    if list(text_part(tokenizer, prompt).ids) != list(ids):
        raise ModelError("the tokens of the filled chat template are not those that the tokenizer reads in its text")
    return prompt


def _places(marked: str, written: str, marks: Sequence[str], contents: Sequence[str]) -> list[tuple[int, int]]:
    """Where the contents stand in the filled template.

    Raises:
        ModelError: It writes them otherwise than they are.
    """
    places = []
    text = marked
    for mark, content in zip(marks, contents, strict=True):
        if text.count(mark) != 1:
            raise ModelError("the chat template leaves out a message, or says it twice: which words count is not known")
        start = text.index(mark)
        text = text.replace(mark, content)
        places.append((start, start + len(content)))
    if text != written:
        raise ModelError("the chat template changes what messages say: which words are theirs is not known")
    return places
