"""The generator of ``scenes``: images of coloured shapes with exact masks, and questions about them.

A scene holds three to five objects before a textured, cluttered background. No shape and no colour occurs twice in it,
so that every question has one answer. One combination of shape and colour in eight is kept for the ``novel`` split: the
others never show it, though they show that shape and that colour.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import cycle, permutations

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw

SIDE = 192
"""Width and height of an image, in pixels."""

NOVEL_SHARE = 8
"""One combination of shape and colour in this many is shown by the ``novel`` split alone."""

MIN_SEPARATION = 30
"""Relations are asked only of objects whose centres are at least this many pixels apart along the axis in question."""

_SUPERSAMPLING = 4
_MARGIN = 4
"""Least distance between two boxes, and of a box from the border, in pixels."""
_MAX_RELATIONS = 1
_EXIST_PAIRS = 2
_PERIOD = 8.0
"""Of the textures, in pixels."""


class Split(StrEnum):
    """Disjoint scenes."""

    TRAIN = "train"
    HELD_OUT = "held_out"
    """Other scenes of the same kind."""
    NOVEL = "novel"
    """Scenes whose objects are all combinations of shape and colour that the other splits never show."""


class Shape(StrEnum):
    """What an object is."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"
    CROSS = "cross"
    RING = "ring"
    HEART = "heart"
    DIAMOND = "diamond"
    MOON = "moon"
    ARROW = "arrow"
    HOUSE = "house"
    HEXAGON = "hexagon"


class Colour(StrEnum):
    """What colour an object has."""

    RED = "red"
    GREEN = "green"
    BLUE = "blue"
    YELLOW = "yellow"
    PURPLE = "purple"
    ORANGE = "orange"
    CYAN = "cyan"
    WHITE = "white"


class Texture(StrEnum):
    """How an object is filled; never asked about."""

    PLAIN = "plain"
    STRIPED = "striped"
    DOTTED = "dotted"


class Kind(StrEnum):
    """What a question asks."""

    ATTRIBUTE = "attribute"
    OBJECT = "object"
    EXIST = "exist"
    RELATION = "relation"


class Relation(StrEnum):
    """Where an object is, seen from another."""

    LEFT = "to the left of"
    RIGHT = "to the right of"
    ABOVE = "above"
    BELOW = "below"

    @property
    def opposite(self) -> "Relation":
        """What holds the other way round."""
        pairs = ((Relation.LEFT, Relation.RIGHT), (Relation.ABOVE, Relation.BELOW))
        return next(b if self is a else a for a, b in pairs if self in (a, b))


@dataclass(frozen=True, eq=False)
class Object:
    """One object of a scene.

    Attributes:
        mask: The pixels that it colours; all others are as if it were not there.
        box: (left, top, right, bottom) in pixels, right and bottom exclusive; tight around the mask.
    """

    shape: Shape
    colour: Colour
    texture: Texture
    mask: Bool[np.ndarray, "192 192"]
    box: tuple[int, int, int, int]

    @property
    def centre(self) -> tuple[float, float]:
        """Where the middle of the box is, x and y in pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


@dataclass(frozen=True, eq=False)
class Scene:
    """An image and what is in it.

    Attributes:
        image: The image, RGB.
        background: The image without its objects: differs from ``image`` in the objects' masks and nowhere else.
        objects: Three to five, no two with the same shape or colour, no two boxes overlapping.
    """

    image: UInt8[np.ndarray, "192 192 3"]
    background: UInt8[np.ndarray, "192 192 3"]
    objects: tuple[Object, ...]


@dataclass(frozen=True)
class Question:
    """A question about a scene.

    Attributes:
        words: Half-open character range in ``text`` of each phrase that refers to an object, with the object's index;
            ascending. None where the question is about something that is not there.
        answer_object: Index of the object that the answer names or describes, if it does.
    """

    text: str
    answer: str
    words: tuple[tuple[int, int, int], ...]
    answer_object: int | None
    kind: Kind


def make_scene(seed: int, split: Split, index: int) -> Scene:
    """Draw a scene; the same arguments give the same scene."""
    rng = np.random.default_rng([seed, list(Split).index(split), index])
    background = _background(rng)
    looks = _choose_looks(rng, split, count=int(rng.integers(3, 6)))
    textures = list(Texture)
    image = background.copy()
    objects = []
    for (shape, colour), (stamp, left, top) in zip(looks, _place(rng, [shape for shape, _ in looks]), strict=True):
        texture = textures[rng.integers(len(textures))]
        height, width = stamp.coverage.shape
        # Pixels that the outline covers by less than half stay as they are: the mask is exactly what it changed.
        inside = stamp.coverage >= 0.5
        alpha = (stamp.coverage * inside)[..., None]
        patch = image[top : top + height, left : left + width]
        patch[:] = np.rint(alpha * _fill(rng, colour, texture, stamp) + (1 - alpha) * patch)
        mask = np.zeros((SIDE, SIDE), bool)
        mask[top : top + height, left : left + width] = inside
        objects.append(Object(shape, colour, texture, mask, (left, top, left + width, top + height)))
    return Scene(image, background, tuple(objects))


def questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """Questions about a scene: 11 to 15 of them, as many to be answered yes as no (up to one relation).

    Every object is asked for by its shape and by its colour; ``rng`` chooses which existences and relations are asked.
    """
    return [
        *_identities(scene.objects),
        *_existences(scene.objects, rng),
        *_relations(scene.objects, rng),
    ]


def relations(objects: tuple[Object, ...]) -> list[tuple[int, Relation, int]]:
    """What is where, as far as it is unambiguous: (object, relation, reference object), by their indices."""
    return [
        (first, relation, second)
        for i, j in permutations(range(len(objects)), 2)
        for axis, smaller in enumerate((Relation.LEFT, Relation.ABOVE))
        if objects[j].centre[axis] - objects[i].centre[axis] >= MIN_SEPARATION
        for first, relation, second in ((i, smaller, j), (j, smaller.opposite, i))
    ]


def is_novel(shape: Shape, colour: Colour) -> bool:
    """Whether only the ``novel`` split shows this combination."""
    # The sum of the indices spreads them over all shapes and colours, as in a Latin square.
    return (list(Shape).index(shape) + list(Colour).index(colour)) % NOVEL_SHARE == 0


def article(noun: str) -> str:
    """Return "an" before a, e, i, o, u, else "a"."""
    return "an" if noun[0] in "aeiou" else "a"


# Questions.


def _ask(*parts: str | tuple[str, int], answer: str, kind: Kind, answer_object: int | None = None) -> Question:
    """A question put together from text and, as (phrase, index), from phrases that refer to an object."""
    text, words = "", []
    for part in parts:
        if isinstance(part, tuple):
            words.append((len(text), len(text) + len(part[0]), part[1]))
        text += part[0] if isinstance(part, tuple) else part
    return Question(text, str(answer), tuple(words), answer_object, kind)


def _identities(objects: tuple[Object, ...]) -> Iterator[Question]:
    for i, thing in enumerate(objects):
        yield _ask(
            "What color is the ", (thing.shape, i), "?", answer=thing.colour, kind=Kind.ATTRIBUTE, answer_object=i
        )
        yield _ask(
            "What is the ", (f"{thing.colour} thing", i), "?", answer=thing.shape, kind=Kind.OBJECT, answer_object=i
        )


def _existences(objects: tuple[Object, ...], rng: np.random.Generator) -> Iterator[Question]:
    """For some objects: the one that is there, and one that shares only its shape or only its colour and is not."""
    for i in rng.permutation(len(objects))[:_EXIST_PAIRS]:
        shape, colour = objects[i].shape, objects[i].colour
        # A novel combination is never asked about in vain: training would show that the answer is always no.
        near_misses = (
            [(shape, other) for other in Colour if other != colour and not is_novel(shape, other)],
            [(other, colour) for other in Shape if other != shape and not is_novel(other, colour)],
        )[rng.integers(2)]
        wrong_shape, wrong_colour = near_misses[rng.integers(len(near_misses))]
        yield _ask(f"Is there {article(colour)} ", (f"{colour} {shape}", int(i)), "?", answer="yes", kind=Kind.EXIST)
        yield _ask(f"Is there {article(wrong_colour)} {wrong_colour} {wrong_shape}?", answer="no", kind=Kind.EXIST)


def _relations(objects: tuple[Object, ...], rng: np.random.Generator) -> Iterator[Question]:
    """One of the relations, asked as it is (yes) or turned round (no)."""
    true = relations(objects)
    answers = cycle(("yes", "no") if rng.integers(2) else ("no", "yes"))
    for chosen, answer in zip(rng.permutation(len(true))[:_MAX_RELATIONS], answers, strict=False):
        first, relation, second = true[chosen]
        asked = relation if answer == "yes" else relation.opposite
        subject, reference = (objects[first].shape, first), (objects[second].shape, second)
        yield _ask("Is the ", subject, f" {asked} the ", reference, "?", answer=answer, kind=Kind.RELATION)


# Layout.


def _choose_looks(rng: np.random.Generator, split: Split, count: int) -> list[tuple[Shape, Colour]]:
    """Combinations of the split, no shape and no colour twice."""
    novel = split is Split.NOVEL
    pool = [(shape, colour) for shape in Shape for colour in Colour if is_novel(shape, colour) is novel]
    chosen: list[tuple[Shape, Colour]] = []
    for i in rng.permutation(len(pool)):
        shape, colour = pool[i]
        if all(shape != s and colour != c for s, c in chosen):
            chosen.append((shape, colour))
            if len(chosen) == count:
                break
    return chosen


@dataclass(frozen=True, eq=False)
class _Stamp:
    """An object's outline, cut out tightly.

    Attributes:
        coverage: Share of each pixel that the outline covers.
        u: Coordinate of each pixel along the object's own first axis, in pixels, for textures.
        v: The same along its second axis.
    """

    coverage: Float[np.ndarray, "h w"]
    u: Float[np.ndarray, "h w"]
    v: Float[np.ndarray, "h w"]


def _place(rng: np.random.Generator, shapes: list[Shape]) -> list[tuple[_Stamp, int, int]]:
    """Stamps of random size and rotation, with the left and top of each; their boxes keep a margin."""
    # A crowded start can leave no room for the last object: then all are drawn anew.
    while True:
        stamps = [_stamp(shape, float(rng.uniform(36, 60)), float(rng.uniform(-20, 20))) for shape in shapes]
        placed: list[tuple[_Stamp, int, int]] = []
        for stamp in stamps:
            height, width = stamp.coverage.shape
            for _ in range(40):
                left = int(rng.integers(_MARGIN, SIDE - width - _MARGIN + 1))
                top = int(rng.integers(_MARGIN, SIDE - height - _MARGIN + 1))
                if not any(
                    left < x + other.coverage.shape[1] + _MARGIN
                    and x < left + width + _MARGIN
                    and top < y + other.coverage.shape[0] + _MARGIN
                    and y < top + height + _MARGIN
                    for other, x, y in placed
                ):
                    placed.append((stamp, left, top))
                    break
        if len(placed) == len(shapes):
            return placed


def _stamp(shape: Shape, size: float, degrees: float) -> _Stamp:
    """Draw an outline whose longer side before rotation is ``size`` pixels."""
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    # Half the diagonal of the square that holds the shape, whatever the rotation.
    half = int(np.ceil(size / np.sqrt(2))) + 1
    canvas = Image.new("L", (2 * half * _SUPERSAMPLING,) * 2)
    draw = ImageDraw.Draw(canvas)
    for polygon, paint in zip(_outlines()[shape], (255, 0), strict=False):
        points = (polygon @ turn * (size / 2) + half) * _SUPERSAMPLING
        draw.polygon([(x, y) for x, y in points.tolist()], fill=paint)
    coverage = np.asarray(canvas.reduce(_SUPERSAMPLING), np.float64) / 255
    y, x = np.mgrid[: 2 * half, : 2 * half] + 0.5 - half
    rows, columns = (np.flatnonzero((coverage >= 0.5).any(axis=axis)) for axis in (1, 0))
    tight = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return _Stamp(coverage[tight], (x * cos + y * sin)[tight], (y * cos - x * sin)[tight])


# Looks.


_RGB = {
    Colour.RED: (214, 38, 36),
    Colour.GREEN: (38, 160, 52),
    Colour.BLUE: (38, 76, 214),
    Colour.YELLOW: (246, 220, 40),
    Colour.PURPLE: (142, 48, 178),
    Colour.ORANGE: (248, 134, 22),
    Colour.CYAN: (46, 208, 222),
    Colour.WHITE: (246, 246, 246),
}


def _fill(rng: np.random.Generator, colour: Colour, texture: Texture, stamp: _Stamp) -> Float[np.ndarray, "h w 3"]:
    """The object's colour, slightly varied, with a darker pattern."""
    rgb = np.clip(np.array(_RGB[colour]) + rng.uniform(-9, 9, 3), 0, 255)
    phase_u, phase_v = rng.uniform(0, 2 * np.pi, 2)
    u = np.sin(stamp.u * (2 * np.pi / _PERIOD) + phase_u)
    v = np.sin(stamp.v * (2 * np.pi / _PERIOD) + phase_v)
    match texture:
        case Texture.PLAIN:
            dark = np.zeros_like(u)
        case Texture.STRIPED:
            dark = np.clip(2 * u + 0.3, 0, 1)
        case Texture.DOTTED:
            dark = np.clip(4 * (u + v - 0.9), 0, 1)
    return rgb * (1 - 0.35 * dark[..., None])


def _background(rng: np.random.Generator) -> UInt8[np.ndarray, "192 192 3"]:
    """A muted gradient with stripes or none, noise, and faint strokes and dots that are no objects."""
    ramp = np.linspace(0, 1, SIDE)
    along_x, along_y = rng.uniform(-1, 1, 2)
    gradient = along_x * ramp[None, :] + along_y * ramp[:, None]
    # Close to grey, so that no background has the colour of an object.
    start = rng.uniform(85, 150) + rng.uniform(-12, 12, 3)
    canvas = start + gradient[..., None] * (rng.uniform(-24, 24) + rng.uniform(-8, 8, 3))
    if rng.integers(2):
        frequency_x, frequency_y = rng.uniform(-0.35, 0.35, 2)
        pixels = np.arange(SIDE)
        stripes = np.sin(frequency_x * pixels[None, :] + frequency_y * pixels[:, None])
        canvas += rng.uniform(3, 8) * stripes[..., None]
    coarse = Image.fromarray(rng.normal(0, 9, (13, 13)).astype(np.float32))
    canvas += np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))[..., None]
    canvas += rng.normal(0, 4, canvas.shape)
    picture = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(6, 13)):
        x, y = rng.uniform(0, SIDE, 2)
        faint = tuple(np.clip(start + rng.uniform(-45, 45) + rng.uniform(-18, 18, 3), 0, 255).astype(int).tolist())
        if rng.integers(2):
            radius = rng.uniform(1.5, 4)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=faint)
        else:
            dx, dy = rng.uniform(-22, 22, 2)
            draw.line((x, y, x + dx, y + dy), fill=faint, width=int(rng.integers(1, 4)))
    return np.array(picture)


# Outlines.


def _arc(radius: float, start: float, stop: float, centre: tuple[float, float] = (0, 0)) -> Float[np.ndarray, "n 2"]:
    """Points on a circle from ``start`` to ``stop`` degrees; 0 points right, 90 down."""
    angles = np.deg2rad(np.linspace(start, stop, 64))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius + centre


def _regular(corners: int, *radii: float) -> Float[np.ndarray, "n 2"]:
    """A polygon with a corner on top, its corners in turn at each of the radii."""
    angles = np.deg2rad(np.arange(corners) * 360 / corners - 90)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.resize(radii, corners)[:, None]


@cache
def _outlines() -> dict[Shape, tuple[Float[np.ndarray, "n 2"], ...]]:
    """The outline of each shape, and its hole if it has one; x right, y down, the longer side from -1 to 1."""
    t = np.linspace(0, 2 * np.pi, 96)
    heart = np.stack(
        [16 * np.sin(t) ** 3, -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))], axis=1
    )
    drawn: dict[Shape, tuple[Float[np.ndarray, "n 2"], ...]] = {
        Shape.CIRCLE: (_arc(1, 0, 360),),
        Shape.SQUARE: (np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]),),
        Shape.TRIANGLE: (_regular(3, 1),),
        Shape.STAR: (_regular(10, 1, 0.42),),
        Shape.CROSS: (
            np.array(
                [
                    (-1, -3),
                    (1, -3),
                    (1, -1),
                    (3, -1),
                    (3, 1),
                    (1, 1),
                    (1, 3),
                    (-1, 3),
                    (-1, 1),
                    (-3, 1),
                    (-3, -1),
                    (-1, -1),
                ]
            ),
        ),
        Shape.RING: (_arc(1, 0, 360), _arc(0.52, 0, 360)),
        Shape.HEART: (heart,),
        Shape.DIAMOND: (np.array([(0, -1), (0.62, 0), (0, 1), (-0.62, 0)]),),
        # A disc less a disc of its size further right: both arcs end where the two circles meet.
        Shape.MOON: (np.concatenate([_arc(1, 60, 300), _arc(1, 240, 120, (1, 0))]),),
        Shape.ARROW: (np.array([(-1, -0.3), (0.1, -0.3), (0.1, -0.8), (1, 0), (0.1, 0.8), (0.1, 0.3), (-1, 0.3)]),),
        Shape.HOUSE: (
            np.array([(0, -1), (1, -0.15), (0.72, -0.15), (0.72, 0.9), (-0.72, 0.9), (-0.72, -0.15), (-1, -0.15)]),
            np.array([(-0.2, 0.91), (-0.2, 0.25), (0.2, 0.25), (0.2, 0.91)]),
        ),
        Shape.HEXAGON: (_regular(6, 1),),
    }
    return {shape: _normalised(polygons) for shape, polygons in drawn.items()}


def _normalised(polygons: tuple[Float[np.ndarray, "n 2"], ...]) -> tuple[Float[np.ndarray, "n 2"], ...]:
    """Centre the first polygon's box on 0 and scale its longer side to 2; the others are transformed likewise."""
    low, high = polygons[0].min(axis=0), polygons[0].max(axis=0)
    return tuple((polygon - (low + high) / 2) * (2 / (high - low).max()) for polygon in polygons)
