"""For tests of methods of one's own: toy models, a toy image, and the contract that every method keeps.

Three lines test a method (pytest has to be installed)::

    from atman_bench.testing import MethodContract
    from my_package.my_method import SPEC
    class TestMyMethod(MethodContract): spec = SPEC
"""

from atman_bench.testing.contract import MethodContract, MetricContract
from atman_bench.testing.models import PROMPT_IDS, TARGET_IDS, state_of, toy_model
from atman_bench.testing.pictures import adapter as toy_picture_model
from atman_bench.testing.pictures import save_noise as save_toy_picture

__all__ = [
    "PROMPT_IDS",
    "TARGET_IDS",
    "MethodContract",
    "MetricContract",
    "save_toy_picture",
    "state_of",
    "toy_model",
    "toy_picture_model",
]
