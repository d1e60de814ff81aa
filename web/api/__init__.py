"""The REST routes of version 1, by subject. Each module makes a list of routes from the services it needs."""
