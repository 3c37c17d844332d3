"""Real backend servers for tests, benchmarks and the demo: each on free loopback ports, in a folder of its own."""
