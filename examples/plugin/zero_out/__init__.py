"""A method and a metric that ``atman-bench`` finds once this package is installed."""
