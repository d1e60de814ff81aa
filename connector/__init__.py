"""The PBX side of Takeover: calls, engagements and the adapters that act on a real telephone exchange."""
