"""How a stored tensor differs from what it should be: figures from one pass, and a name for the cause."""
