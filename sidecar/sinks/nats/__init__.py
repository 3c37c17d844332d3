"""Messages to a stream of NATS JetStream."""
