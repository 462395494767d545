"""``configs/``, which users edit at the top of a checkout, is installed as ``atman_bench/configs``."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["atman_bench*"]), "atman_bench.configs"],
    package_dir={"atman_bench.configs": "configs"},
)
