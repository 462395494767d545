"""Explanations of single prompts and images, documents and steered text."""
