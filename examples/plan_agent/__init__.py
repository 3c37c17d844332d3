"""An agent with a plan of 20 steps that survives the death of everything."""
