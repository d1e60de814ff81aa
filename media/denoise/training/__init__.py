"""How the weights were made; nothing here is imported by the service (`docs/denoise.md`)."""
