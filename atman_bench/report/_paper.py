"""What the AtMan paper (NeurIPS 2023) reports for experiments that this suite repeats, x 100 as printed."""

PAPER: dict[tuple[str, str], dict[str, float]] = {
    # Table 1a. An interquartile mean recall of 100 cannot come from labels of several tokens under A.11: the paper's
    # scored unit was probably coarser than a token.
    ("squad", "integrated_gradients"): {"mAP": 49.5, "mAP_IQ": 49.5, "mAR": 87.1, "mAR_IQ": 98.6},
    ("squad", "input_x_gradient"): {"mAP": 51.7, "mAP_IQ": 61.4, "mAR": 91.8, "mAR_IQ": 100.0},
    ("squad", "chefer"): {"mAP": 72.7, "mAP_IQ": 77.5, "mAR": 96.6, "mAR_IQ": 100.0},
    ("squad", "atman"): {"mAP": 73.7, "mAP_IQ": 81.8, "mAR": 93.4, "mAR_IQ": 100.0},
    # Appendix A.9, which prints no interquartile means.
    ("squad", "rollout"): {"mAP": 23.1, "mAR": 53.4},
}
"""By dataset and method of this suite. The paper has one variant per method, and a 6B model."""
