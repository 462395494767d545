"""The toy model with an image, which is installed for the tests of others too."""

from atman_bench.testing.pictures import GRID, SIDE, WORDS, adapter, build, save, save_noise

__all__ = ["GRID", "SIDE", "WORDS", "adapter", "build", "save", "save_noise"]
