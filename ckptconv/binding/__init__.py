"""A schema laid on a store: which stored tensor is which tensor of the model."""
