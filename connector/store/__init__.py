"""What is kept: accounts, sessions, tokens, past engagements, transcripts, and the audit of every act."""

from .store import Store

__all__ = ["Store"]
