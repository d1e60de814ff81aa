"""The sound side of Takeover: browser legs (WebRTC), patches into the PBX, and the voice chain."""
