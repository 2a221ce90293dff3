"""Reading one node's dumps into the model."""
