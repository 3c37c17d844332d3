"""Messages to an HTTP endpoint, as CloudEvents."""
