"""Results as text, JSON and pages: the only place that formats; one file a verb, or kind of verb."""
