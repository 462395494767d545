"""The kinds of runs that experiments are made of: one file each, which plans it, runs it and makes tables and figures.

A new kind is a new file with a subclass of ``Run``; an experiment imports it, and nothing else has to know of it.
"""
