"""What lvlmscope costs: one command measures it and writes docs/performance.md (`python -m benchmarks --help`)."""
