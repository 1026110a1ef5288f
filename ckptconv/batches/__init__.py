"""Many conversions, each with its verification: a plan, attempts in processes of their own, records, one report."""
