"""Steering a generation by amplifying or suppressing parts of its prompt (Fig. 2b).

An edit of prompt positions with the ``visible`` row minimum leaves the model causal: keys and values of a position do
not depend on later ones, so the cache of a growing text stays exact. Tests compare it with running everything again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from atman_bench.api._remarks import say_remarks
from atman_bench.attention.edit import AttentionEdit, Form, RowMin
from atman_bench.attention.kv_cache import PrefixStore
from atman_bench.attention.patching import Editor
from atman_bench.core.errors import ConfigError, ModelError, UnknownNameError
from atman_bench.core.records import Completion
from atman_bench.datasets._chunking import Span
from atman_bench.models._base import ModelAdapter, Pass
from atman_bench.models._causal_lm import CausalLM
from atman_bench.models._parts import text_after
from atman_bench.models._writing import NO_NUMBERS

PAPER_PROMPT = "Hello, my name is Lucas. I like soccer and math. Since the last few years, I've been working on"
"""The prompt of Fig. 2b."""


@dataclass(frozen=True)
class SteeringConfig:
    """How scores are edited while generating.

    Attributes:
        form: How scores are edited: shifted, literal (Eq. 4), log (Eq. 7) or mask.
        row_min: Columns that the shifted form takes a row's minimum over; only ``visible`` generates.
        layers: Layers that are edited (0 = first); None edits all.
    """

    form: Form = Form.SHIFTED
    row_min: RowMin = RowMin.VISIBLE
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what looks ahead.

        Raises:
            ConfigError: See above.
        """
        _check_causal(self.row_min)


@dataclass(frozen=True)
class Change:
    """What happens to a part of the prompt.

    Attributes:
        part: A word of the prompt, wherever it occurs, or the one character range ``START:END``.
        factor: Multiplies its attention scores as the form says: more than 1 amplifies, less than 1 suppresses.
    """

    part: str
    factor: float

    def spans(self, prompt: str) -> list[Span]:
        """Half-open character ranges of the part.

        Raises:
            UnknownNameError: The prompt has no such word.
            ConfigError: The range is not in the prompt.
        """
        if match := re.fullmatch(r"(\d+):(\d+)", self.part):
            start, end = int(match[1]), int(match[2])
            if not start < end <= len(prompt):
                raise ConfigError(f"range {self.part} is not in the prompt: expected 0 <= start < end <= {len(prompt)}")
            return [(start, end)]
        spans = [match.span() for match in re.finditer(rf"(?<!\w){re.escape(self.part)}(?!\w)", prompt)]
        if not spans or not self.part:
            raise UnknownNameError("word of the prompt", self.part, set(re.findall(r"\w+", prompt)))
        return spans

    def reads(self, prompt: str) -> str:
        """What the part reads."""
        start, end = self.spans(prompt)[0]
        return prompt[start:end].strip()


@dataclass(frozen=True)
class Continuation:
    """A greedy continuation.

    Attributes:
        ids: The generated tokens, without an end-of-text token.
        logprobs: Log-probability of each of K watched tokens at each of N steps (natural logarithm), float32 on the
            CPU; the step that ends the text counts.
    """

    ids: tuple[int, ...]
    logprobs: Float[Tensor, "N K"]


@dataclass(frozen=True)
class Pair:
    """A log-probability in the plain and in the steered text (natural logarithm)."""

    plain: float
    steered: float

    @property
    def shift(self) -> float:
        """How much steering raises it."""
        return self.steered - self.plain


@dataclass(frozen=True)
class Topic:
    """How a steered generation moves towards a word.

    Attributes:
        word: The word.
        token: Its first token after a blank, whose log-probability is read.
        first: At the first step, where both texts are the same.
        mean: Averaged over the steps of each text.
    """

    word: str
    token: str
    first: Pair
    mean: Pair


@dataclass(frozen=True)
class Steered:
    """A plain and a steered continuation of the same prompt.

    Attributes:
        prompt: What was continued.
        plain: What the model says.
        steered: What it says under the edit.
        edited: The tokens that were edited, with their factors.
        topics: One for each watched word.
    """

    prompt: str
    plain: str
    steered: str
    edited: tuple[tuple[str, float], ...]
    topics: tuple[Topic, ...]


def generate(
    model: ModelAdapter,
    prompt_ids: Sequence[int],
    edit: AttentionEdit | None,
    max_new_tokens: int,
    watched: Sequence[int] = (),
) -> Continuation:
    """Continue a prompt greedily under an edit, with cached keys and values.

    Args:
        model: The adapter.
        prompt_ids: The P prompt tokens.
        edit: One perturbation of P + ``max_new_tokens`` positions, or None for the plain model on the same path.
        max_new_tokens: Tokens at the most; an end-of-text token stops earlier.
        watched: K tokens whose log-probability is kept.

    Raises:
        ConfigError: The edit looks ahead.
        ModelError: Logits are no numbers.
        SampleError: The text exceeds the context window.
    """
    if edit is not None:
        _check_causal(edit.row_min)
    ends = _end_tokens(model)
    ids = list(prompt_ids)
    store = PrefixStore(model.host.n_layers, len(ids) + max_new_tokens)
    done = 0
    logprobs = []
    with torch.inference_mode(), model.host.applied(Editor(edit)):
        for _ in range(max_new_tokens):
            # The "target" is never read: it makes the last token of the text the last row.
            encoded = model.encode_ids(ids, [ids[-1]])
            store.restart(done, 1)
            logits = model.run(encoded, Pass(start=done, rows=[len(ids) - 1], store=store))
            row = logits[0, 0].float().log_softmax(-1).cpu()
            if row.isnan().any():
                raise ModelError(NO_NUMBERS)
            done = len(ids)
            logprobs.append(row[list(watched)])
            chosen = int(row.argmax())
            if chosen in ends:
                break
            ids.append(chosen)
    return Continuation(tuple(ids[len(prompt_ids) :]), torch.stack(logprobs))


def steer(
    model: ModelAdapter,
    prompt: str,
    changes: Sequence[Change],
    max_new_tokens: int = 20,
    config: SteeringConfig | None = None,
    topics: Sequence[str] = (),
) -> Steered:
    """Compare the plain continuation of a prompt with one where parts of it are amplified or suppressed.

    Args:
        model: The adapter.
        prompt: The text.
        changes: Which parts, and how much.
        max_new_tokens: Length of each continuation.
        config: The form of the edit.
        topics: Words whose log-probability is watched; none watches what is changed.

    Raises:
        ConfigError: Nothing is changed, two changes meet in one token, a layer does not exist, or the form does not
            allow a factor.
        UnknownNameError: A word is not in the prompt.
        ModelError: The model continues no plain text.
        SampleError: The text exceeds the context window.
    """
    config = config or SteeringConfig()
    if not isinstance(model, CausalLM) or model.tokenizer is None:
        raise ModelError(f"model {model.name!r} continues no plain text: steering needs a decoder with its tokenizer")
    _check(model, changes, config)
    encoded = model.encode_text(prompt, Completion("", [0]))  # the target is never read
    say_remarks(encoded)
    offsets = encoded.offsets or ()
    prompt_ids = encoded.inputs["input_ids"][0, : len(offsets)].tolist()
    edited = _factors(prompt, offsets, changes)
    words = list(dict.fromkeys(topics or [change.reads(prompt) for change in changes]))
    watched = [int(model.encode_text(prompt, f" {word}").target_ids[0]) for word in words]
    factors = torch.ones(1, len(prompt_ids) + max_new_tokens)
    factors[0, list(edited)] = torch.tensor(list(edited.values()))
    layers = None if config.layers is None else frozenset(config.layers)
    edit = AttentionEdit(factors.to(model.device), config.form, config.row_min, layers)
    plain = generate(model, prompt_ids, None, max_new_tokens, watched)
    steered = generate(model, prompt_ids, edit, max_new_tokens, watched)
    texts = model.token_texts(prompt_ids)
    return Steered(
        prompt=prompt,
        plain=text_after(model.tokenizer, prompt_ids, plain.ids),
        steered=text_after(model.tokenizer, prompt_ids, steered.ids),
        edited=tuple((texts[position], factor) for position, factor in sorted(edited.items())),
        topics=tuple(
            Topic(
                word,
                token,
                Pair(float(plain.logprobs[0, k]), float(steered.logprobs[0, k])),
                Pair(float(plain.logprobs[:, k].mean()), float(steered.logprobs[:, k].mean())),
            )
            for k, (word, token) in enumerate(zip(words, model.token_texts(watched), strict=True))
        ),
    )


def _check_causal(row_min: RowMin) -> None:
    if row_min is RowMin.ALL:
        raise ConfigError(
            "row_min 'all' takes the minimum over columns of tokens that are not generated yet, so it cannot steer a "
            "generation: use row_min 'visible'"
        )


def _end_tokens(model: ModelAdapter) -> frozenset[int]:
    """Tokens that end a text."""
    generation = model.model.generation_config
    ends = None if generation is None else generation.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)


def _check(model: ModelAdapter, changes: Sequence[Change], config: SteeringConfig) -> None:
    if not changes:
        raise ConfigError("nothing is amplified or suppressed: give at least one part of the prompt")
    outside = [layer for layer in config.layers or () if not 0 <= layer < model.host.n_layers]
    if outside:
        raise ConfigError(f"layer {outside[0]} does not exist: expected 0 to {model.host.n_layers - 1}")
    amplified = [change for change in changes if change.factor > 1]
    if config.form is Form.MASK and amplified:
        raise ConfigError(
            f"form 'mask' removes every edited token, so it cannot amplify {amplified[0].part!r}: use another form"
        )


def _factors(prompt: str, offsets: Sequence[Span], changes: Sequence[Change]) -> dict[int, float]:
    """The factor of each edited token: those that overlap a part of the prompt.

    Raises:
        ConfigError: Two changes meet in one token, or a part lies in no token.
    """
    by_position: dict[int, Change] = {}
    for change in changes:
        spans = change.spans(prompt)
        positions = [i for i, (a, b) in enumerate(offsets) if any(a < end and b > start for start, end in spans)]
        if not positions:
            raise ConfigError(f"{change.part!r} lies in no token of the prompt: choose a part with visible characters")
        for position in positions:
            other = by_position.setdefault(position, change)
            if other is not change:
                a, b = offsets[position]
                raise ConfigError(f"{other.part!r} and {change.part!r} both change the token {prompt[a:b]!r}")
    return {position: change.factor for position, change in by_position.items()}
