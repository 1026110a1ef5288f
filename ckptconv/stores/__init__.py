"""Where the bytes of named tensors lie; knows no model."""
