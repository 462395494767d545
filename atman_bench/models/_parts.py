"""Prompts as parts, text and images, and how parts become an encoded sample: shared by all families."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from atman_bench.core.errors import SampleError
from atman_bench.core.records import ChatPrompt, Completion, JointUnits, PatchUnits, Sample, TextUnits, Units, Word
from atman_bench.core.tensors import Encoded
from atman_bench.models._base import LINE_BREAK, Plain

REPLACEMENT = "\ufffd"
"""What decoders write for bytes that are no whole character."""

BYTE_OF_CHARACTER = {character: byte for byte, character in bytes_to_unicode().items()}
"""The printable characters that stand for bytes in byte-level vocabularies."""

SPECIMENS = ("The capital of France is Paris.", "München, (née) 3.14\nnext line", "你好世界", "a  b\tc", "🙂👩‍🚀 ok")
"""Texts that a tokenizer is tried on: words, accents, line breaks, no spaces, many spaces, characters of many bytes."""

BYTE_NAME = re.compile("<0x[0-9A-F]{2}>")
"""How vocabularies with byte fallback, and we, write a single byte."""


@dataclass(frozen=True)
class TextPart:
    """Consecutive tokens of a text.

    Attributes:
        ids: Token ids.
        text: What they were made of, or None where they were given as ids.
        offsets: Half-open character range of each token in ``text``.
        texts: What each token reads on its own, where there is no ``text``.
        remarks: What a reader has to know about how the text became tokens.
    """

    ids: tuple[int, ...]
    text: str | None = None
    offsets: tuple[tuple[int, int], ...] = ()
    texts: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def block(self, groups: list[list[int]]) -> "Block":
        """Units of groups of this part's tokens; the part is the only one that has text."""
        if self.text is None:
            texts = tuple("".join(self.texts[i] for i in g) for g in self._checked(groups))
            return Block(TextUnits(texts), self, groups)
        spans = tuple(
            (min(self.offsets[i][0] for i in g), max(self.offsets[i][1] for i in g)) if g else (0, 0)
            for g in self._checked(groups)
        )
        return Block(TextUnits(tuple(self.text[a:b] for a, b in spans), spans), self, groups)

    def _checked(self, groups: list[list[int]]) -> list[list[int]]:
        seen: set[int] = set()
        for unit, positions in enumerate(groups):
            for position in positions:
                if not 0 <= position < len(self) or position in seen:
                    raise SampleError(
                        f"unit {unit} holds position {position}; units must be disjoint groups of positions in "
                        f"0..{len(self) - 1}"
                    )
                seen.add(position)
        return groups


@dataclass(frozen=True)
class PicturePart:
    """An image as a model reads it: one embedding per patch.

    Attributes:
        embeddings: Input embeddings of the decoder.
        units: The grid of patches, row by row.
        array: The image's pixels (H, W, 3).
        pixels: What the encoder read.
    """

    embeddings: Float[Tensor, "1 N D"]
    units: PatchUnits
    array: np.ndarray
    pixels: Float[Tensor, "1 3 h w"] | None = None

    def __len__(self) -> int:
        return self.embeddings.shape[1]


Part = TextPart | PicturePart


@dataclass(frozen=True)
class Block:
    """Units that lie in one part.

    Attributes:
        units: What they are.
        part: Where they lie.
        groups: Positions of each within the part.
    """

    units: TextUnits | PatchUnits
    part: Part
    groups: list[list[int]]


LONGEST_TOKEN = 128
"""Characters: the longest tokens of published vocabularies are runs of blanks."""

MOST_CHARACTERS = 3_000_000
"""Longest text for a tokenizer that does not know the model's window: about a million tokens."""


def text_part(tokenizer: PreTrainedTokenizerBase, text: str, special: bool = True) -> TextPart:
    """Tokenise a text that another one follows, with the tokenizer's special tokens before it if ``special``.

    A ``ChatPrompt`` has its own special tokens and gets none.

    A token that would end the text, such as ``</s>``, is left out, and so is a second start token before a text that
    has its own (chat templates write it).

    Raises:
        SampleError: Where a token lies in the text is not known, or no model reads so many characters: that is found
            before they are tokenised, which takes minutes.
    """
    if len(text) > (most := min(MOST_CHARACTERS, LONGEST_TOKEN * tokenizer.model_max_length)):
        raise SampleError(f"{len(text)} characters are too long for the model: {most} at the most; shorten the text")
    encoding = tokenizer(
        text,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        add_special_tokens=special and not isinstance(text, ChatPrompt),
        verbose=False,  # a text that is too long gets a line of ours
    )
    ids, added = encoding["input_ids"], encoding["special_tokens_mask"]
    own = [i for i, mark in enumerate(added) if not mark]
    kept = list(range(len(ids)))
    remarks = []
    if own and own[-1] + 1 < len(ids):
        kept = kept[: own[-1] + 1]
        remarks.append("the tokenizer ends every text with a special token, which is left out before the target")
    if own and own[0] > 0 and ids[own[0]] == ids[own[0] - 1] == tokenizer.bos_token_id:
        kept.remove(own[0] - 1)
        remarks.append("the prompt begins with the start token itself: the tokenizer's own is left out")
    offsets = _placed(tokenizer, text, ids, own, encoding["offset_mapping"])
    return TextPart(tuple(ids[i] for i in kept), text, tuple(offsets[i] for i in kept), remarks=tuple(remarks))


def _placed(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    ids: Sequence[int],
    own: Sequence[int],
    offsets: Sequence[tuple[int, int]],
) -> list[tuple[int, int]]:
    """Character ranges of a text's tokens, of which ``own`` are the text's.

    Published tokenizers of Llama 3 give whole words a range of length 0 at their first character: it reaches to where
    the next token starts.

    Raises:
        SampleError: A token that can be read has no range, or one outside of the text.
    """
    placed = [(a, b) for a, b in offsets]
    if all(0 <= placed[i][0] < placed[i][1] <= len(text) for i in own):
        return placed
    next_start = len(text)
    for i in reversed(own):
        start, end = placed[i]
        if start == end:
            placed[i] = start, end = start, next_start
        if not 0 <= start <= end <= len(text) or (start == end and tokenizer.decode([ids[i]]).strip()):
            raise SampleError(
                f"the tokenizer puts a token at characters {start} to {end} of a text of {len(text)}: where its tokens "
                "lie is not known"
            )
        next_start = start
    return placed


def alignment_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """Whether a tokenizer's tokens are tied to characters, and say the text that they were made of: tried, and told."""
    problems = []
    for text in SPECIMENS:
        try:
            part = text_part(tokenizer, text, special=False)
            if text_part(tokenizer, tokenizer.decode(list(part.ids)), special=False).ids != part.ids:
                problems.append(f"the tokens of {text!r}, decoded and encoded again, are others")
        except SampleError as error:
            problems.append(f"{text!r}: {error}")
    if not problems:
        return f"all of {len(SPECIMENS)} texts: tokens lie inside the text, and encoding it again gives the same"
    return f"{len(problems)} of {len(SPECIMENS)} texts fail: {problems[0]}"


def following_part(tokenizer: PreTrainedTokenizerBase, before: str, text: str) -> TextPart:
    """Tokenise a text that comes after another one, with or without an image between them.

    Its tokens are those that it has as a continuation. Where one would span both texts, it is tokenised on its own.
    """
    if not before:
        return text_part(tokenizer, text)
    first, whole = text_part(tokenizer, before), text_part(tokenizer, before + text)
    if whole.ids[: len(first)] != first.ids:
        return text_part(tokenizer, text, special=False)
    offsets = tuple((max(a - len(before), 0), b - len(before)) for a, b in whole.offsets[len(first) :])
    return TextPart(whole.ids[len(first) :], text, offsets)


def prompt_and_target(
    tokenizer: PreTrainedTokenizerBase, prompt: str, target: str, special: bool = True
) -> tuple[TextPart, TextPart]:
    """Tokenise a prompt and the target behind it as the one text that the model reads.

    A target on its own reads otherwise: many tokenizers put a space mark before every text. Where the prompt's tokens
    begin the whole text, the rest is the target. Elsewhere the text is split at the target's first character, and a
    token that spans this place belongs to the target. The tokens of a ``Completion`` are known already.

    Args:
        tokenizer: A fast one.
        prompt: The text before the target.
        target: What follows it.
        special: Whether the tokenizer's special tokens come first.
    """
    special = special and not isinstance(prompt, ChatPrompt)  # a joined text is none any more
    alone = text_part(tokenizer, prompt, special)
    if isinstance(target, Completion):
        return alone, TextPart(target.ids)
    whole = text_part(tokenizer, prompt + target, special)
    end = len(prompt)
    first = len(alone)
    remarks = alone.remarks
    # The same id may hold other text, where a token is an unknown word.
    if whole.ids[:first] != alone.ids or whole.offsets[:first] != alone.offsets:
        # Some tokenizers give tokens offsets of length 0, at their first character.
        reaches = (i for i, (a, b) in enumerate(whole.offsets) if b > end or a == b >= end > 0)
        first = next(reaches, len(whole))
        if first < len(whole) and whole.offsets[first][0] < end:
            remarks = (*remarks, "a token spans the end of the prompt and the start of the target: it is the target's")
    return (
        TextPart(whole.ids[:first], prompt, whole.offsets[:first], remarks=remarks),
        TextPart(whole.ids[first:], target, tuple((max(a - end, 0), b - end) for a, b in whole.offsets[first:])),
    )


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> tuple[str, ...]:
    """What tokens read, each on its own; bytes that are no whole character as ``<0xE4>``."""
    return tuple(_token_text(tokenizer, token) for token in ids)


def _token_text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    text: str = tokenizer.decode([token])
    if REPLACEMENT not in text:
        return text
    # Byte-level vocabularies write bytes as printable characters; others name single bytes as we do.
    name = str(tokenizer.convert_ids_to_tokens(token))
    if not all(character in BYTE_OF_CHARACTER for character in name) or BYTE_NAME.fullmatch(name):
        return name
    read = bytes(BYTE_OF_CHARACTER[character] for character in name).decode("utf-8", "surrogateescape")
    return "".join(f"<0x{ord(c) - 0xDC00:02X}>" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in read)


def text_after(tokenizer: PreTrainedTokenizerBase, prompt_ids: Sequence[int], ids: Sequence[int]) -> str:
    """What tokens read after a prompt: decoded together, since some tokenizers put blanks between tokens only."""
    before = tokenizer.decode(prompt_ids, skip_special_tokens=True)
    whole: str = tokenizer.decode([*prompt_ids, *ids], skip_special_tokens=True)
    return whole[len(before) :] if whole.startswith(before) else tokenizer.decode(ids, skip_special_tokens=True)


def units_of(parts: Sequence[Part], explain: tuple[int, int] | None, pictures: bool) -> list[Block]:
    """What is explained: tokens that overlap a character range, patches of the images, or both.

    Raises:
        SampleError: Nothing is.
    """
    blocks = []
    for part in parts:
        if isinstance(part, PicturePart):
            if pictures:
                blocks.append(Block(part.units, part, [[i] for i in range(len(part))]))
        elif explain is not None and part.text is not None:
            first, last = explain
            tokens = [[i] for i, (a, b) in enumerate(part.offsets) if a < last and b > first and part.text[a:b].strip()]
            if tokens:
                blocks.append(part.block(tokens))
    if not blocks:
        text = next((part.text for part in parts if isinstance(part, TextPart) and part.text is not None), "")
        if explain is not None and not text[slice(*explain)].strip():
            raise SampleError("the text that is explained is white space: there is no token to explain")
        raise SampleError(f"no token overlaps the explained range {explain}, and no picture is explained")
    return blocks


def text_units(tokenizer: PreTrainedTokenizerBase, sample: Sample) -> TextUnits:
    """The units of a text sample, by the tokenizer alone: the tokens that overlap its explained range.

    Raises:
        SampleError: Nothing is explained.
    """
    prompt, _ = prompt_and_target(tokenizer, sample.prompt, sample.target)
    (block,) = units_of([prompt], sample.explain, False)
    assert isinstance(block.units, TextUnits)  # no part is an image
    return block.units


def encoded_of(
    uid: str,
    inputs: dict[str, Tensor],
    parts: Sequence[Part],
    target: TextPart,
    blocks: Sequence[Block],
    words: Sequence[Word] = (),
) -> Encoded:
    """The encoded sample of parts that stand one after the other, before the target.

    Raises:
        SampleError: A word overlaps no token, or stands at the very beginning where nothing predicts it.
    """
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    start_of = {id(part): start for part, start in zip(parts, starts[:-1], strict=True)}
    prompt_length = starts[-1]
    length = prompt_length + len(target) - 1
    unit_of_position = torch.full((length,), -1)
    first = 0
    for block in blocks:
        for unit, group in enumerate(block.groups, start=first):
            for position in group:
                unit_of_position[start_of[id(block.part)] + position] = unit
        first += len(block.groups)
    text = next((part for part in parts if isinstance(part, TextPart)), None)
    answer_ids, answer_rows = torch.tensor(target.ids), torch.arange(prompt_length - 1, length)
    targets = _word_targets(uid, words, parts, start_of, target, prompt_length) if words else None
    pictures = [part for part in parts if isinstance(part, PicturePart)]
    return Encoded(
        uid=uid,
        inputs=inputs,
        target_ids=answer_ids if targets is None else torch.tensor([token for _, token, _ in targets]),
        target_rows=answer_rows if targets is None else torch.tensor([row for row, _, _ in targets]),
        unit_of_position=unit_of_position,
        units=_joint([block.units for block in blocks]),
        text=None if text is None else text.text,
        offsets=None if text is None or text.text is None else text.offsets,
        pictures=tuple(part.array for part in pictures),
        pixels=pictures[0].pixels if len(pictures) == 1 else None,
        picture_start=start_of[id(pictures[0])] if len(pictures) == 1 else None,
        answer_ids=answer_ids,
        answer_rows=answer_rows,
        word_of_target=None if targets is None else tuple(word for _, _, word in targets),
        remarks=tuple(remark for part in (*parts, target) if isinstance(part, TextPart) for remark in part.remarks),
    )


def _joint(units: list[TextUnits | PatchUnits]) -> Units:
    return units[0] if len(units) == 1 else JointUnits(tuple(units))


def _word_targets(
    uid: str,
    words: Sequence[Word],
    parts: Sequence[Part],
    start_of: dict[int, int],
    target: TextPart,
    prompt_length: int,
) -> list[tuple[int, int, int]]:
    """(row, token id, word) of every token of the annotated words: a token is read one row before its own.

    Of a word that is explained at its own rows it is the token that follows each of its own, read at their rows.
    """
    prompt = next(part for part in parts if isinstance(part, TextPart))
    characters = len(prompt.text or "")
    tokens = [
        (start_of[id(prompt)] + i, token, span)
        for i, (token, span) in enumerate(zip(prompt.ids, prompt.offsets, strict=True))
    ] + [
        (prompt_length + i, token, (a + characters, b + characters))
        for i, (token, (a, b)) in enumerate(zip(target.ids, target.offsets, strict=True))
    ]
    at = {position: token for position, token, _ in tokens}
    found = sorted(
        (read - 1, at[read], index)
        for index, word in enumerate(words)
        for position, _, (a, b) in tokens
        if a < word.span[1] and b > word.span[0] and (read := position + word.own_row) in at
    )
    if {index for _, _, index in found} != set(range(len(words))) or found[0][0] < 0:
        raise SampleError(f"sample {uid}: an annotated word overlaps no token that something predicts")
    return found


def plain_of(encoded: Encoded, logits_of: Callable[[list[int]], Float[Tensor, "R V"]]) -> Plain:
    """The unperturbed model on a sample, from the logits of some rows."""
    answer_ids = encoded.target_ids if encoded.answer_ids is None else encoded.answer_ids
    answer_rows = encoded.target_rows if encoded.answer_rows is None else encoded.answer_rows
    rows = torch.cat([encoded.target_rows, answer_rows])
    logits = logits_of(rows.tolist()).float()
    count = len(encoded.target_rows)
    targets = encoded.target_ids.to(logits.device)
    logprobs = logits[:count].log_softmax(-1).gather(1, targets[:, None])[:, 0]
    greedy = logits[count:].argmax(-1) == answer_ids.to(logits.device)
    return Plain(tuple(logprobs.tolist()), bool(greedy.all()))


def completion_of(
    tokenizer: PreTrainedTokenizerBase, prompt_ids: Sequence[int], ids: Sequence[int], stop: Sequence[str] = LINE_BREAK
) -> Completion:
    """What a model said after a prompt, up to the first text that stops it, with the tokens that it said it with.

    Line breaks before the first line are no part of the text, but their tokens remain: the model said them.

    Raises:
        EmptyCompletionError: Nothing is left.
    """

    def read(count: int) -> str:
        return text_after(tokenizer, prompt_ids, ids[:count]).lstrip("\n")

    text = stopped(text_after(tokenizer, prompt_ids, ids), stop)
    count = len(ids)
    if any(end in read(count) for end in stop):
        count = next(n for n in range(1, count + 1) if any(end in read(n) for end in stop))
        while count > 1 and read(count - 1).rstrip().startswith(text):  # these tokens hold nothing of the text
            count -= 1
    while count > 1 and not tokenizer.decode([ids[count - 1]], skip_special_tokens=True).strip():
        count -= 1
    return Completion(text, ids[:count])


class EmptyCompletionError(SampleError):
    """A model's completion is empty: there is nothing to explain, and the answer to a question is wrong."""


def stopped(text: str, stop: Sequence[str] = LINE_BREAK) -> str:
    """A completion up to the first of some texts, by default to its first line break.

    Raises:
        EmptyCompletionError: Nothing is left.
    """
    completion = text.lstrip("\n")
    ends = [completion.find(end) for end in stop if end in completion]
    completion = completion[: min(ends, default=len(completion))].rstrip()
    if not completion.strip():
        raise EmptyCompletionError(
            f"the model's greedy completion of the prompt is empty (received {text!r}); give a target explicitly"
        )
    return completion
