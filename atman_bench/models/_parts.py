"""Prompts as parts, text and images, and how parts become an encoded sample: shared by all families."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from atman_bench.core.errors import SampleError
from atman_bench.core.records import JointUnits, PatchUnits, TextUnits, Units, Word
from atman_bench.core.tensors import Encoded
from atman_bench.models._base import Plain


@dataclass(frozen=True)
class TextPart:
    """Consecutive tokens of a text.

    Attributes:
        ids: Token ids.
        text: What they were made of, or None where they were given as ids.
        offsets: Half-open character range of each token in ``text``.
        texts: What each token reads on its own, where there is no ``text``.
    """

    ids: tuple[int, ...]
    text: str | None = None
    offsets: tuple[tuple[int, int], ...] = ()
    texts: tuple[str, ...] = ()

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


def text_part(tokenizer: PreTrainedTokenizerBase, text: str, special: bool = True) -> TextPart:
    """Tokenise a text, with the tokenizer's special tokens where ``special`` says so."""
    encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=special)
    return TextPart(tuple(encoding["input_ids"]), text, tuple(tuple(o) for o in encoding["offset_mapping"]))


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
        raise SampleError(f"no token overlaps the explained range {explain}, and no picture is explained")
    return blocks


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
    """(row, token id, word) of every token of the annotated words: a token is read one row before its own."""
    prompt = next(part for part in parts if isinstance(part, TextPart))
    characters = len(prompt.text or "")
    tokens = [
        (start_of[id(prompt)] + i, token, span)
        for i, (token, span) in enumerate(zip(prompt.ids, prompt.offsets, strict=True))
    ] + [
        (prompt_length + i, token, (a + characters, b + characters))
        for i, (token, (a, b)) in enumerate(zip(target.ids, target.offsets, strict=True))
    ]
    found = sorted(
        (position - 1, token, index)
        for index, word in enumerate(words)
        for position, token, (a, b) in tokens
        if a < word.span[1] and b > word.span[0]
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


class EmptyCompletionError(SampleError):
    """A model's completion is empty: there is nothing to explain, and the answer to a question is wrong."""


def first_line(text: str) -> str:
    """A completion up to its first line break.

    Raises:
        EmptyCompletionError: Nothing is left.
    """
    completion = text.lstrip("\n").split("\n")[0].rstrip()
    if not completion.strip():
        raise EmptyCompletionError(
            f"the model's greedy completion of the prompt is empty (received {text!r}); give a target explicitly"
        )
    return completion
