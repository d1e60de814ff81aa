"""What every adapter of a PBX does in the same way: it stays connected, guards what goes out, and waits for a leg."""
