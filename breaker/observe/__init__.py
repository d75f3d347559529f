"""What a breaker tells: events, the bus that delivers them, the log, and which breakers there are."""
