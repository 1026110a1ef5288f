"""Generation as transformers 4.57.6 does it, written once around `encode` and `step`, for every format."""
