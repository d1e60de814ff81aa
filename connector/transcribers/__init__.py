"""Speech into words, for captions: each module is one way, and implements `ports.Transcriber`."""
