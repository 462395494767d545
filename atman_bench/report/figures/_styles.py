"""How each method looks in every figure: one colour, one marker and one hatch, whichever figure it is in.

Colours are those of Okabe and Ito and of Tol's muted scheme, which are told apart with impaired colour vision; markers
and hatches tell methods apart without any colour. Floors are grey, with open markers and lines of their own.
"""

from dataclasses import dataclass

from atman_bench.methods.floors import FLOORS

Marker = str | tuple[int, int, int]
"""As matplotlib has them; a tuple is a polygon or star: corners, kind and rotation."""
Line = str | tuple[int, tuple[int, ...]]


@dataclass(frozen=True)
class MethodStyle:
    """How one method or floor looks.

    Attributes:
        colour: Of its markers, lines and bars.
        marker: Of its points.
        hatch: Of its bars and boxes; empty leaves them plain.
        line: Of lines between its points, or of the line across that a floor is.
    """

    colour: str
    marker: Marker
    hatch: str
    line: Line = "-"


_METHODS = {
    "atman": MethodStyle("#D55E00", "o", "///"),
    "adaptive": MethodStyle("#E69F00", "h", "//"),
    "atman_gradient": MethodStyle("#CC6677", (5, 0, 180), "///..."),
    "integrated_suppression": MethodStyle("#882255", (4, 1, 0), "//.."),
    "chefer": MethodStyle("#0072B2", "s", "\\\\\\"),
    "integrated_gradients": MethodStyle("#56B4E9", "^", "..."),
    "input_x_gradient": MethodStyle("#009E73", "D", "xxx"),
    "gradcam": MethodStyle("#CC79A7", "v", "+++"),
    "rollout": MethodStyle("#F0E442", "P", "---"),
    "attention": MethodStyle("#999933", "X", "|||"),
    "mean_attention": MethodStyle("#DDCC77", (6, 1, 0), "||"),
    "attention_flow": MethodStyle("#117733", (3, 1, 0), "--"),
    "grad_x_attention": MethodStyle("#B8860B", "<", "xx"),
    "occlusion": MethodStyle("#44AA99", "*", "ooo"),
    "lime": MethodStyle("#AA4499", ">", "oo"),
    "kernel_shap": MethodStyle("#332288", "p", "OO"),
    "context_cite": MethodStyle("#88CCEE", "d", "o"),
    "proxy_spex": MethodStyle("#BBCC33", (4, 1, 45), "o.."),
    "attnlrp": MethodStyle("#661100", "H", "\\\\"),
    "cp_lrp": MethodStyle("#6699CC", "8", "\\\\.."),
    "gim": MethodStyle("#AA4466", (7, 0, 0), "**"),
    "ifr": MethodStyle("#4477AA", (8, 1, 0), "++"),
    "flashtrace": MethodStyle("#228833", (3, 1, 180), "++.."),
    "tam": MethodStyle("#EE6677", (9, 0, 0), "..ooo"),
    "value_zeroing": MethodStyle("#5B4A8A", (5, 1, 0), "OOO"),
}
_FLOORS = {
    "uniform": MethodStyle("0.55", "1", "", ":"),
    "random": MethodStyle("0.55", "x", "", "--"),
    "position": MethodStyle("0.35", "+", "", "-."),
    "centre": MethodStyle("0.35", "2", "", (0, (6, 1, 1, 1, 1, 1))),
    "local_contrast": MethodStyle("0.15", "3", "", (0, (1, 4))),
}
_OTHER = MethodStyle("0.5", ".", "")


def style_of(method: str) -> MethodStyle:
    """The style of a method or floor; one that is not of this package is a grey point.

    Floors that were added have broken lines of their own, by their place among all floors.
    """
    if method in FLOORS and method not in _FLOORS:
        place = FLOORS.names.index(method)
        return MethodStyle("0.15", "4", "", (0, (9, 1) + (2, 1) * (place + 1)))
    return _METHODS.get(method) or _FLOORS.get(method) or _OTHER
