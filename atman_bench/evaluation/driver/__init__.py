"""Many workers, one run: who computes what, and what becomes of it when one of them is lost.

A run is *lots* of samples, each under one piece of *work* (a method with its options). The driver hands them out and is
the only one that stores anything; workers are processes of this machine (``local.py``) or actors of a Ray cluster
(``ray_pool.py``), which load a model once and send back finished results. Nothing here imports torch.
"""
