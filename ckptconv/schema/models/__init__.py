"""One file = one way in which parts make a model."""
