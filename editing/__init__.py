"""Language-guided changes of heads."""
