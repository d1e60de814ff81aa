"""What a call, a leg and an engagement are, and the rules they obey. Standard library only."""
