"""A sample as a model reads it, with its foil and in the units that are asked for: no business of adapters."""

from dataclasses import replace

import torch

from atman_bench.core.errors import DataError, SampleError
from atman_bench.core.records import Sample, TextUnits, UnitKind
from atman_bench.core.tensors import Encoded
from atman_bench.datasets._chunking import pieces, tokens_of_chunks
from atman_bench.models._base import ModelAdapter


def encode_sample(model: ModelAdapter, sample: Sample, kind: UnitKind = UnitKind.TOKEN) -> Encoded:
    """Tokenise a sample, with its foil if it has one, in units of a kind.

    Raises:
        SampleError: See ``ModelAdapter.encode``, ``against`` and ``grouped``.
    """
    encoded = model.encode(sample)
    if sample.foil is not None:
        foil = model.encode(replace(sample, target=sample.foil, words=()))
        encoded = against(encoded, foil, "".join(model.token_texts(foil.target_ids.tolist())), sample.foil)
    return grouped(encoded, kind)


def against(encoded: Encoded, foil: Encoded, reads: str, wanted: str) -> Encoded:
    """A sample whose one target token is explained against another.

    Args:
        encoded: The sample.
        foil: The same prompt, followed by the foil.
        reads: What the foil's tokens read.
        wanted: What the foil is.

    Raises:
        SampleError: Target or foil is not one token, the foil is not in the vocabulary, both are the same token, the
            tokens before them differ, or words are explained instead of the target.
    """
    if encoded.word_of_target is not None:
        raise SampleError("words are explained here instead of the target, and a foil is one of the target's")
    if (count := len(encoded.target_ids)) != 1:
        raise SampleError(
            f"the target is {count} tokens of this model: a foil says why one token rather than another; give a target "
            "of one token"
        )
    if (count := len(foil.target_ids)) != 1:
        raise SampleError(
            f"the foil is no token of this model's vocabulary, but {count}: a foil says why one token rather than "
            "another; give a foil of one token"
        )
    # Vocabularies with a token for unknown words write that; some tokenizers make capitals small.
    if reads.strip().casefold() != wanted.strip().casefold():
        raise SampleError("the foil is not in this model's vocabulary; give a foil of one token")
    if torch.equal(encoded.target_ids, foil.target_ids):
        raise SampleError("target and foil are the same token; give a foil that differs from the target")
    if not all(torch.equal(tensor, foil.inputs[name]) for name, tensor in encoded.inputs.items()):
        raise SampleError("before the foil the prompt reads as other tokens than before the target")
    return replace(encoded, foil_ids=foil.target_ids)


def grouped(encoded: Encoded, kind: UnitKind) -> Encoded:
    """A sample whose units are words, sentences, chunks or examples: groups of the units that it has.

    A method that takes units away takes a group away as one; scores that belong to positions are added up.

    Args:
        encoded: A sample of which a text is explained, token by token.
        kind: What is one unit; a token that reaches over a border belongs to the unit of its first visible character.

    Raises:
        SampleError: No text is explained, it has no such part, or the prompt was given as token ids.
    """
    if kind is UnitKind.TOKEN:
        return encoded
    units = encoded.units
    if not isinstance(units, TextUnits) or units.spans is None or encoded.text is None:
        raise SampleError(f"units of kind {kind} are parts of a text: nothing else may be explained, and no token ids")
    spans, text = units.spans, encoded.text
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    try:
        parts = [(first + start, first + end) for start, end in pieces(text[first:last], kind)]
    except DataError as error:
        raise SampleError(str(error)) from error
    groups = [group for group in tokens_of_chunks(parts, text, spans) if group]
    # The last entry is for positions that belong to no unit.
    new_unit = torch.full((len(units) + 1,), -1)
    for number, group in enumerate(groups):
        new_unit[group] = number
    borders = tuple((spans[group[0]][0], spans[group[-1]][1]) for group in groups)
    return replace(
        encoded,
        unit_of_position=new_unit[encoded.unit_of_position],
        units=TextUnits(tuple(text[start:end] for start, end in borders), borders),
    )
