"""The demo's own parts: an embedded Asterisk, phones that call it, and voices for them."""
