"""Variants of a sample for sanity checks: a fact said twice, an answer that the context does not give."""

import re
from dataclasses import dataclass, replace

from atman_bench.core.errors import SampleError
from atman_bench.core.records import CharSpans, Sample

Span = tuple[int, int]

_SENTENCE = re.compile(r"\S.*?(?:[.!?](?=\s|$)|$)", re.DOTALL)


@dataclass(frozen=True)
class Duplicated:
    """A sample whose decisive sentence stands twice.

    Attributes:
        sample: It, with both places as its label.
        first: Where the evidence was already, in the new prompt.
        second: Where its copy is.
    """

    sample: Sample
    first: Span
    second: Span


def duplicated(sample: Sample) -> Duplicated:
    """Say the sentence with the evidence once more, at the end of what is explained.

    Raises:
        SampleError: The evidence is no text, or lies outside of what is explained.
    """
    start, end, (first, *_) = _explained(sample)
    sentence = next(
        (s for s in sentences(sample.prompt, start, end) if s[0] <= first[0] and first[1] <= s[1]), (start, end)
    )
    text = sample.prompt[slice(*sentence)]
    prompt = f"{sample.prompt[:end]} {text}{sample.prompt[end:]}"
    moved = end + 1 - sentence[0]
    second = first[0] + moved, first[1] + moved
    together = replace(
        sample, prompt=prompt, explain=(start, end + 1 + len(text)), label=CharSpans((first, second)), words=()
    )
    return Duplicated(together, first, second)


def without_answer(sample: Sample) -> Sample:
    """Leave out every sentence that holds evidence or the answer.

    Raises:
        SampleError: The evidence is no text, or nothing else would be left.
    """
    start, end, evidence = _explained(sample)
    answer = sample.target.strip().lower()
    kept = [
        sample.prompt[slice(*s)]
        for s in sentences(sample.prompt, start, end)
        if answer not in sample.prompt[slice(*s)].lower() and all(e <= s[0] or s[1] <= b for b, e in evidence)
    ]
    if not kept:
        raise SampleError("without the sentences that give the answer nothing is left to explain")
    context = " ".join(kept)
    prompt = sample.prompt[:start] + context + sample.prompt[end:]
    return replace(sample, prompt=prompt, explain=(start, start + len(context)), label=CharSpans(()), words=())


def sentences(text: str, start: int, end: int) -> list[Span]:
    """Half-open ranges of the sentences of a part of a text; each ends with a full stop, ``?`` or ``!``."""
    return [(start + found.start(), start + found.end()) for found in _SENTENCE.finditer(text[start:end])]


def _explained(sample: Sample) -> tuple[int, int, tuple[Span, ...]]:
    if not isinstance(sample.label, CharSpans) or sample.explain is None or not sample.label.spans:
        raise SampleError("the evidence is no stretch of a text that is explained")
    start, end = sample.explain
    if any(not start <= a < b <= end for a, b in sample.label.spans):
        raise SampleError("the evidence lies outside of what is explained")
    return start, end, sample.label.spans
