"""What every command has in common: options, errors as exit codes, speech, progress, and what a CI is told."""

import sys

if sys.platform == "win32":  # before what is not there: signals, locks and limits of POSIX
    sys.stderr.write("Error: ckptconv runs on Linux; on Windows use WSL or a container.\n")
    sys.exit(5)
