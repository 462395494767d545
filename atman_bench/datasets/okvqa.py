"""``okvqa``: questions about images that take knowledge to answer (Table 4); the format is VQAv2's.

Source: Marino et al. 2019, in the official format.
"""

from dataclasses import replace

from atman_bench.datasets import vqav2

SPEC = replace(vqav2.SPEC, summary="Questions about pictures that take knowledge, OK-VQA: for accuracy (Table 4)")
