"""A small local web page to check proposed non-progress intervals: `foresight review STORE`."""
