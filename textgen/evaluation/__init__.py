"""A model and a text become nats and bits."""
