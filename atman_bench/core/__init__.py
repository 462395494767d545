"""Records, tensors, errors and what else every room stands on."""
