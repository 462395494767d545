"""Text that others wrote: JSON and YAML that nothing trips over later, and control characters that a terminal obeys."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any

import yaml

MOST_VALUES = 100_000
"""Values of a configuration, aliases written out: more is a file that was made to fill the memory."""

DEEPEST = 20
"""Levels of a configuration; ours have five."""

_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line break, changes of the direction of writing, and halves of surrogate pairs."""

_NOT_IN_JSON = re.compile(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Those that ``json`` writes as they are."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_LARGE = re.compile(rb"[eE]\+?[0-9]{3}")
"""What a number beyond float64 has; digests and words have it too."""


def printable(text: str) -> str:
    r"""Text whose control characters are shown (``\x1b``) instead of sent: a terminal obeys them."""
    return _OBEYED.sub(lambda match: _escape(match[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def json_text(content: Any, indent: int | None = None) -> str:
    """Something as JSON that can be read and encoded anywhere: letters as they are, control characters escaped.

    Raises:
        ValueError: A number is not finite, which JSON cannot say.
    """
    text = json.dumps(content, ensure_ascii=False, indent=indent, allow_nan=False)
    return _NOT_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def parse_json(data: bytes | str) -> Any:
    """What JSON says.

    Raises:
        ValueError: It is no JSON in UTF-8, is nested too deeply, or holds a number or a text that nothing can be done
            with: NaN, an integer of thousands of digits, half of a surrogate pair.
    """
    try:
        content = json.loads(data, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    # Only escapes bring half a pair, only exponents an infinite number: ordinary lines are not walked through.
    written = data if isinstance(data, bytes) else data.encode()
    if b"\\u" in written or _LARGE.search(written):
        for value in _values(content):
            if isinstance(value, str) and _SURROGATE.search(value):
                raise ValueError(f"{printable(value[:40])!r} holds half of a surrogate pair, which is no text")
            if value in (inf, -inf):
                raise ValueError("it holds a number that is too large")
    return content


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")


def _values(content: Any) -> Iterator[Any]:
    """All keys and values in a JSON document."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        yield value
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value


def parse_yaml(text: str) -> Any:
    """What YAML says.

    Raises:
        ValueError: It is no YAML, is nested too deeply or too large, or holds a value that no option can have: an
            integer of more than 64 bits, a text with a NUL or half of a surrogate pair.
    """
    try:
        content = yaml.safe_load(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:  # dates and numbers have their own
        raise ValueError(" ".join(str(error).split())) from error
    values = 0
    waiting = [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        values += 1
        if values > MOST_VALUES:
            raise ValueError(f"it holds more than {MOST_VALUES:,} values")
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep")
        check_value(value)
        if isinstance(value, Mapping):
            waiting += [(item, depth + 1) for pair in value.items() for item in pair]
        elif isinstance(value, Sequence | set) and not isinstance(value, str | bytes):
            waiting += [(item, depth + 1) for item in value]
    return content


def check_value(value: Any) -> None:
    """Refuse a number or a text that no option can have.

    Raises:
        ValueError: An integer of more than 64 bits, a text with a NUL or half of a surrogate pair.
    """
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("it holds an integer of more than 64 bits")
    if isinstance(value, str) and (found := re.search("[\0\ud800-\udfff]", value)):
        raise ValueError(f"{printable(value[:40])!r} holds {_escape(found[0])}, which is no text")


_WORD = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"  # scripts that write no blanks between words: a character each
    "|(?:(?![\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff])\\w)+(?:['’](?![\u3040-\u9fff])\\w+)*"
    r"|[^\w\s]+"
)


def words_of(text: str, spans: Sequence[tuple[int, int] | None]) -> list[list[int]]:
    """Group consecutive stretches of a text that lie in one word: runs of letters and digits, or of punctuation.

    A stretch that reaches over several words belongs to the first of them; one of white space alone, or without a
    place in the text, stays alone.

    Args:
        text: The text.
        spans: Half-open character ranges, ascending; None for what is no part of the text.

    Returns:
        Indices of the stretches of each group, in order.
    """
    words = [match.span() for match in _WORD.finditer(text)]
    groups: list[list[int]] = []
    before: int | None = None
    word = 0
    for index, span in enumerate(spans):
        own = None
        if span is not None:
            while word < len(words) and words[word][1] <= span[0]:
                word += 1
            if word < len(words) and words[word][0] < span[1]:
                own = word
        if own is not None and own == before:
            groups[-1].append(index)
        else:
            groups.append([index])
        before = own
    return groups
