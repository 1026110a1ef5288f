"""One file = one kind of model: which parts a config names, and how they join. The folder is the registry."""
