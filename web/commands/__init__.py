"""What the command line does beside serving. Each command returns what it has to say; `web.cli` prints it."""
