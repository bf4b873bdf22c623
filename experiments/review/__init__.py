"""A small local web page to check proposed non-progress intervals: `python -m experiments.review STORE`."""
