"""Speed, memory and fidelity, measured: ``python -m benchmarks``."""
