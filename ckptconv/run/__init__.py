"""What both models answer: probes, the processes that run them, and when a difference is an error."""
