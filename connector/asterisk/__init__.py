"""Asterisk over AMI: one Originate into our dialplan, and the truth read back from the PBX."""
