"""Results as pages: each one file, which opens from disk and asks nobody for anything."""
