"""The tests that a user can run too: malformed files, and faults while writing."""
