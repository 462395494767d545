"""Runs over datasets: configuration, samples, stored results, sweeps and answers."""
