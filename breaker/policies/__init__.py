"""When a circuit opens, and for how long: recipes, tallies, windows. Nothing here knows a breaker."""
