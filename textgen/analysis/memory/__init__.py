"""How far back a network learns: gradients over time, and the context it uses."""
