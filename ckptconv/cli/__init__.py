"""What every command has in common: options, errors as exit codes, speech, progress, and what a CI is told."""
