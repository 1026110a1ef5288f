"""What every part stands on: errors, limits, signals, threads, files; knows nothing of models."""
