"""Explanations of single prompts and pictures, documents and steered text."""
