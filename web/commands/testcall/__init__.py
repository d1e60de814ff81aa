"""The test call of `takeover doctor --call`: proves on a real PBX that people can take over there, without touching
anybody's call. Caller, AI and agent are ours, each with a tone; the takeover between them is the service's own."""
