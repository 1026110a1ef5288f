"""One file a command: its options, one call, its rendering. The file's name is the command's."""
