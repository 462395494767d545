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
    """A sample whose target is explained against a foil of any length.

    Where both are one token, the pass that predicts the one predicts the other.

    Args:
        encoded: The sample.
        foil: The same prompt, followed by the foil.
        reads: What the foil's tokens read.
        wanted: What the foil is.

    Raises:
        SampleError: The foil is not in the vocabulary, one of target and foil begins with the other, the tokens before
            them differ, or words are explained instead of the target.
    """
    if encoded.word_of_target is not None:
        raise SampleError("words are explained here instead of the target, and a foil is one of the target's")
    # Vocabularies with a token for unknown words write that; some tokenizers make capitals small.
    if "".join(reads.split()).casefold() != "".join(wanted.split()).casefold():
        raise SampleError("the foil is not in this model's vocabulary; give another foil")
    if torch.equal(encoded.target_ids, foil.target_ids):
        raise SampleError("target and foil are the same; give a foil that differs from the target")
    shared = min(len(encoded.target_ids), len(foil.target_ids))
    if torch.equal(encoded.target_ids[:shared], foil.target_ids[:shared]):
        raise SampleError("one of target and foil begins with the other; give a foil that takes another way")
    if not _same_prompt(encoded, foil):
        raise SampleError("before the foil the prompt reads as other tokens than before the target")
    one_each = len(encoded.target_ids) == len(foil.target_ids) == 1
    if one_each and all(torch.equal(tensor, foil.inputs[name]) for name, tensor in encoded.inputs.items()):
        return replace(encoded, foil_ids=foil.target_ids)
    return _contrasted(encoded, foil)


def _contrasted(encoded: Encoded, foil: Encoded) -> Encoded:
    """Two sequences, each of which knows that it is explained against the other."""
    return replace(encoded, foil=replace(foil, foil=encoded))


def _same_prompt(encoded: Encoded, other: Encoded) -> bool:
    """Whether two sequences are alike up to the row that predicts their first target token."""
    first = int(encoded.target_rows[0])
    ids = [one.inputs["input_ids"][0, : first + 1] for one in (encoded, other) if "input_ids" in one.inputs]
    explained = [one.unit_of_position[: first + 1] for one in (encoded, other)]
    return (
        first == int(other.target_rows[0])
        and encoded.offsets == other.offsets
        and torch.equal(*explained)
        and (len(ids) < 2 or torch.equal(*ids))
    )


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
    if encoded.foil is not None:
        return _contrasted(*(grouped(replace(one, foil=None), kind) for one in (encoded, encoded.foil)))
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
