"""Cost of a callable."""
