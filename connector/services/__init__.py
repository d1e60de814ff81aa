"""What the house does with calls: the registry of what is live, takeovers, transcripts."""
