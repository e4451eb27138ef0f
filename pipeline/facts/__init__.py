"""The frozen records that stages exchange; no logic."""
