"""Documents cut into chunks that are explained as a whole (A.8), and the tokens that belong to each chunk."""

import re
from bisect import bisect_right
from collections.abc import Sequence

from atman_bench.core.errors import DataError
from atman_bench.core.records import UnitKind

DELIMITERS = (".", ",", "\n", " and")
"""What ends a chunk in the paper (A.8)."""

Span = tuple[int, int]
"""Half-open character range."""


def cut(text: str, delimiters: Sequence[str] = DELIMITERS) -> tuple[Span, ...]:
    """Cut after every delimiter, which stays at the end of its chunk; a word such as " and" must end there.

    Returns:
        Ranges that join without gaps to the whole text; none is empty.
    """
    longest_first = sorted(delimiters, key=len, reverse=True)
    pattern = "|".join(re.escape(d) + (r"(?!\w)" if d[-1].isalnum() else "") for d in longest_first)
    ends = [match.end() for match in re.finditer(pattern, text)]
    if text and (not ends or ends[-1] < len(text)):
        ends.append(len(text))
    return tuple(zip([0, *ends], ends, strict=False))


def split_document(text: str, delimiters: Sequence[str] = DELIMITERS) -> tuple[Span, ...]:
    """Cut a document into chunks that all hold a word.

    A chunk of nothing but blanks and delimiters joins the one before it, at the beginning the one after it: such a
    chunk can hold no evidence, and the released code's last one is even empty.

    Raises:
        DataError: The document holds nothing but blanks and delimiters.
    """
    # A word counts as a delimiter here even without the blank before it.
    delimiter_only = re.compile(r"(?:\s|" + "|".join(re.escape(d.strip()) for d in delimiters if d.strip()) + ")*")
    chunks: list[Span] = []
    start = 0
    for first, end in cut(text, delimiters):
        if not delimiter_only.fullmatch(text, first, end):
            chunks.append((start, end))
        elif chunks:
            chunks[-1] = (chunks[-1][0], end)
        else:
            continue
        start = end
    if not chunks:
        raise DataError(f"the document holds no text between its delimiters: received {text[:40]!r}")
    return tuple(chunks)


_ENDS = {
    UnitKind.WORD: r"\S+",
    UnitKind.SENTENCE: r"[.!?]+[\"'”’)\]]*(?=\s)|\n",
    UnitKind.EXAMPLE: r"\n[^\S\n]*\n\s*",
}
"""What a unit of a text ends with."""


def pieces(text: str, kind: UnitKind) -> tuple[Span, ...]:
    """Cut a text into words, sentences, chunks or few-shot examples.

    Returns:
        Ranges that join without gaps to the whole text; each holds a visible character.

    Raises:
        DataError: The text holds nothing that is visible (a chunk: nothing but delimiters).
    """
    if kind is UnitKind.CHUNK:
        return split_document(text)
    found: list[Span] = []
    start = 0
    for end in [*(match.end() for match in re.finditer(_ENDS[kind], text)), len(text)]:
        if text[start:end].strip():
            found.append((start, end))
            start = end
    if not found:
        raise DataError(f"there is no {kind} in a text of blanks: received {text[:40]!r}")
    found[-1] = (found[-1][0], len(text))
    return tuple(found)


def tokens_of_chunks(chunks: Sequence[Span], text: str, offsets: Sequence[Span]) -> list[list[int]]:
    """Assign tokens to chunks: a token that reaches over a border belongs to the chunk of its first visible character.

    Args:
        chunks: Ascending ranges without gaps.
        text: What the ranges count in.
        offsets: Range of each token; those outside of all chunks, and tokens of no characters, belong to none.

    Returns:
        Positions of the tokens of each chunk, ascending.
    """
    starts = [start for start, _ in chunks]
    groups: list[list[int]] = [[] for _ in chunks]
    for position, (a, b) in enumerate(offsets):
        token = text[a:b]
        visible = a + len(token) - len(token.lstrip()) if token.strip() else a
        if token and starts[0] <= visible < chunks[-1][1]:
            groups[bisect_right(starts, visible) - 1].append(position)
    return groups
