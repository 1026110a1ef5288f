"""What a checkpoint's tensors are like, and which of them differ."""
