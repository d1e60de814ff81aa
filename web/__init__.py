"""The face of Takeover: HTTP API, panel, command line, and the one place that joins connector and media."""
