"""What an edit of attention scores is, and how it gets into a model."""
