"""How an output comes into being: whole and verified, or not at all."""
