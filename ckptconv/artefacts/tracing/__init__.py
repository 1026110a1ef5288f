"""From a PyTorch class to two graphs, `encode` and `step`, without code for any family. Imports torch: child only."""
