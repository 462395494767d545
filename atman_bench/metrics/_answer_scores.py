"""Accuracy of answers: exact match and F1 as SQuAD defines them, and VQA accuracy. Pure functions of texts.

Sources: Rajpurkar et al. 2016 (SQuAD's evaluation), Antol et al. 2015 (VQA's; the official script is followed to the
letter, so that numbers compare with published ones).
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum


class Accuracy(StrEnum):
    """A measure of answers, in [0, 1], higher is better."""

    EXACT_MATCH = "exact_match"
    F1 = "f1"
    VQA_ACCURACY = "vqa_accuracy"


def exact_match(given: str, answers: Sequence[str]) -> float:
    """1 if the given answer equals one of the reference answers after SQuAD's normalisation, else 0."""
    return float(normalised(given) in {normalised(answer) for answer in answers})


def f1(given: str, answers: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of the normalised words (SQuAD); the best over reference answers."""
    return max(_word_overlap(normalised(given).split(), normalised(answer).split()) for answer in answers)


def vqa_accuracy(given: str, answers: Sequence[str]) -> float:
    """min(n / 3, 1) for an answer that n people gave, averaged over leaving out each person.

    Args:
        given: The model's answer; normalised.
        answers: One per person, as VQAv2 and OK-VQA publish them; where people disagree, punctuation is removed.
    """
    given = _vqa_words(_without_marks(" ".join(given.split())))
    if len(set(answers)) > 1:
        answers = [_without_marks(answer) for answer in answers]
    matches = [answer == given for answer in answers]
    return sum(min((sum(matches) - left_out) / 3, 1.0) for left_out in matches) / len(answers)


SCORERS: Mapping[Accuracy, Callable[[str, Sequence[str]], float]] = {
    Accuracy.EXACT_MATCH: exact_match,
    Accuracy.F1: f1,
    Accuracy.VQA_ACCURACY: vqa_accuracy,
}
"""``(given answer, reference answers) -> score`` in [0, 1]; at least one reference answer."""


def normalised(answer: str) -> str:
    """Lower case without punctuation, articles and superfluous white space, as in SQuAD's evaluation."""
    bare = "".join(character for character in answer.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def _word_overlap(given: list[str], answer: list[str]) -> float:
    common = (Counter(given) & Counter(answer)).total()
    return 2 * common / (len(given) + len(answer)) if common else 0.0


_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_ARTICLES = frozenset({"a", "an", "the"})
_DIGITS = {
    "none": "0",
    "zero": "0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}
_CONTRACTIONS = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd "
    "he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't "
    "needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've "
    "somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll "
    "that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've "
    "weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll "
    "why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've"
)
"""The official table's. Those that begin with I are left out: it has them in capitals, but looks up lower case."""


def _repairs() -> Mapping[str, str]:
    """Contractions by what is left of them when one apostrophe is missing."""
    found = {
        word[:i] + word[i + 1 :]: word
        for word in _CONTRACTIONS.split()
        for i, letter in enumerate(word)
        if letter == "'"
    }
    # A slip of the official table, kept with it.
    found["somebody'd"] = "somebodyd"
    return found


_REPAIRS = _repairs()


def _without_marks(text: str) -> str:
    """Punctuation beside a blank vanishes, and all of it in a text with a number such as 1,000; else it is a blank."""
    in_number = re.search(r"\d,\d", text) is not None
    bare = text
    for mark in _MARKS:
        vanishes = in_number or f"{mark} " in text or f" {mark}" in text
        bare = bare.replace(mark, "" if vanishes else " ")
    return re.sub(r"\.(?!\d)", "", bare)


def _vqa_words(text: str) -> str:
    """Lower case with digits for number words, without articles, and with the apostrophes of contractions."""
    words = [_DIGITS.get(word, word) for word in text.lower().split()]
    return " ".join(_REPAIRS.get(word, word) for word in words if word not in _ARTICLES)
