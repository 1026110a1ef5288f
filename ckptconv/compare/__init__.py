"""Bits beside bits: relations, statistics, initialisation."""
