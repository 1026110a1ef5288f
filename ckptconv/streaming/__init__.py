"""The bytes of a checkpoint: poured from source files into target files, and read back."""
