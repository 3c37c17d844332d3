"""Messages into streams of Redis or Valkey."""
