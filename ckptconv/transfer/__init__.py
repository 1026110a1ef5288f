"""Moving the bytes: the loop, casts, read-back, digests, manifest, publishing."""
