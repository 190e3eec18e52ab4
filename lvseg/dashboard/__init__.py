"""A live page of runs for the browser: table, curves, what mattered, pictures; it reads and never writes."""
