"""One file = one verb; each is a function that the command line calls once and that callers may call."""
