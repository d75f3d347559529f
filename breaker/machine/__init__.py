"""The State pattern on `transitions`: the machine, the model it moves, and what a breaker remembers."""
