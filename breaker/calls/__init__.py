"""How a call gets through: admission and settlement, and a wrapper for each kind of function."""
