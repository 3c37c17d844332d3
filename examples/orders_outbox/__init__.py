"""Orders whose confirmations are committed with them: none is lost, none goes out for an order that is not."""
