"""The server: champions behind the Open Inference Protocol, without torch."""
