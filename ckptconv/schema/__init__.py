"""Config -> the exact tensors of a model, with names and axes in every naming; pure data, opens no checkpoint."""
