"""Data sets, metrics, re-ranking and the parity report. Never imports torch."""
