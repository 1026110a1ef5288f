"""Against files from strangers, files that change while they are read, and signals."""
