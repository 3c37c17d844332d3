"""Connect: many calls a message, one stream a client. Nothing is decided here that its own RPC would not decide."""
