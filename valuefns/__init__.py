"""How good is it: value functions, cross-fitting and advantages."""
