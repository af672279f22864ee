"""Real clients and a real broker, with the gateway between them as a process of its own."""
