"""One file = one model family, as data; docs/adding-a-family.md says how to add one."""
