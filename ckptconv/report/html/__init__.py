"""Results as pages: each one file, which opens from disk and needs no network."""
